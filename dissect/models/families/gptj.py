"""GPT-J: attention and MLP side by side behind one norm; neighbouring components of a head are rotated together."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation
from dissect.models.families.keys import keys, refuse
from dissect.models.families.phi import share_norm
from dissect.models.families.weights import Weight, into_heads, linear, out_of_heads, table, vector

_ROTARY_BASE = 10000
"""No configuration says it."""


def _settings(config: NativeConfig) -> dict[str, Any]:
    d_head = config.n_embd // config.n_head
    if not config.rotary_dim or config.rotary_dim > d_head:
        raise refuse(f"rotary_dim = {config.rotary_dim} for heads of width {d_head}", f"1 to {d_head}")
    return {
        "n_layers": config.n_layer,
        "d_model": config.n_embd,
        "n_ctx": config.n_positions,
        "d_head": d_head,
        "n_heads": config.n_head,
        "d_mlp": config.n_inner or 4 * config.n_embd,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.activation_function),
        "normalization_type": "LN",
        "eps": config.layer_norm_epsilon,
        "parallel_attn_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_base": _ROTARY_BASE,
        "rotary_dim": config.rotary_dim,
        "rotary_adjacent_pairs": True,
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    weights = [table("transformer.wte.weight", "embed.W_E")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        weights += [vector(f"{theirs}.ln_1.weight", f"{ours}.ln1.w"), vector(f"{theirs}.ln_1.bias", f"{ours}.ln1.b")]
        for name, param in {"q_proj": "W_Q", "k_proj": "W_K", "v_proj": "W_V"}.items():
            weights.append(into_heads(f"{theirs}.attn.{name}.weight", f"{ours}.attn.{param}", cfg.d_head))
        weights += [
            out_of_heads(f"{theirs}.attn.out_proj.weight", f"{ours}.attn.W_O", cfg.d_head),
            linear(f"{theirs}.mlp.fc_in.weight", f"{ours}.mlp.W_in"),
            vector(f"{theirs}.mlp.fc_in.bias", f"{ours}.mlp.b_in"),
            linear(f"{theirs}.mlp.fc_out.weight", f"{ours}.mlp.W_out"),
            vector(f"{theirs}.mlp.fc_out.bias", f"{ours}.mlp.b_out"),
        ]
    final = "transformer.ln_f"
    weights += [vector(f"{final}.weight", "ln_final.w"), vector(f"{final}.bias", "ln_final.b")]
    return [*weights, vector("lm_head.bias", "unembed.b_U")]


GPTJ = Family(
    "GPTJForCausalLM",
    "gptj",
    _settings,
    _weights,
    prefix="transformer.",
    embedding="wte.weight",
    adapt=share_norm,
    keys=keys(
        *("n_embd", "n_layer", "n_head", "n_positions", "n_inner", "max_position_embeddings", "activation_function"),
        *("layer_norm_epsilon", "rotary_dim"),
    ),
)
