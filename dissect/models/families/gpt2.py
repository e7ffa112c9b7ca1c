"""GPT-2: learned positions, fused projections stored (in, out)."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation
from dissect.models.families.keys import keys
from dissect.models.families.weights import Weight, conv1d, table, vector


def _settings(config: NativeConfig) -> dict[str, Any]:
    return {
        "n_layers": config.n_layer,
        "d_model": config.n_embd,
        "n_ctx": config.n_positions,
        "d_head": config.n_embd // config.n_head,
        "n_heads": config.n_head,
        "d_mlp": config.n_inner or 4 * config.n_embd,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.activation_function),
        "normalization_type": "LN",
        "eps": config.layer_norm_epsilon,
        "positional_embedding_type": "standard",
        "use_attn_scale": config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    weights = [table("transformer.wte.weight", "embed.W_E"), table("transformer.wpe.weight", "pos_embed.W_pos")]
    heads, three = {"h": cfg.d_head}, (cfg.n_heads,) * 3
    for layer in range(cfg.n_layers):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        for name, param in {"ln_1": "ln1", "ln_2": "ln2"}.items():
            weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w")]
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}.b")]
        matrices = tuple(f"{ours}.attn.W_{letter}" for letter in "QKV")
        biases = tuple(f"{ours}.attn.b_{letter}" for letter in "QKV")
        weights += [
            Weight(
                f"{theirs}.attn.c_attn.weight",
                matrices,
                "d_model (n h) -> n d_model h",
                heads,
                three,
                fan_in_first=True,
            ),
            Weight(f"{theirs}.attn.c_attn.bias", biases, "(n h) -> n h", heads, three),
            Weight(
                f"{theirs}.attn.c_proj.weight",
                (f"{ours}.attn.W_O",),
                "(n h) d_model -> n h d_model",
                heads,
                fan_in_first=True,
            ),
            vector(f"{theirs}.attn.c_proj.bias", f"{ours}.attn.b_O"),
            conv1d(f"{theirs}.mlp.c_fc.weight", f"{ours}.mlp.W_in"),
            vector(f"{theirs}.mlp.c_fc.bias", f"{ours}.mlp.b_in"),
            conv1d(f"{theirs}.mlp.c_proj.weight", f"{ours}.mlp.W_out"),
            vector(f"{theirs}.mlp.c_proj.bias", f"{ours}.mlp.b_out"),
        ]
    return [*weights, vector("transformer.ln_f.weight", "ln_final.w"), vector("transformer.ln_f.bias", "ln_final.b")]


GPT2 = Family(
    "GPT2LMHeadModel",
    "gpt2",
    _settings,
    _weights,
    prefix="transformer.",
    embedding="wte.weight",
    keys=keys(
        *("n_embd", "n_layer", "n_head", "n_positions", "n_inner", "max_position_embeddings", "activation_function"),
        *("layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
    ),
)
