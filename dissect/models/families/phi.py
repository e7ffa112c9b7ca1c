"""Phi-1, 1.5 and 2: attention and MLP side by side behind one norm, partly rotated heads, biases everywhere."""

from typing import TYPE_CHECKING, Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation, grouped, head_width
from dissect.models.families.keys import keys
from dissect.models.families.rope import rotary
from dissect.models.families.weights import Weight, head_bias, into_heads, linear, out_of_heads, table, vector

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


def _settings(config: NativeConfig) -> dict[str, Any]:
    d_head = head_width(config)
    return {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "n_ctx": config.max_position_embeddings,
        "d_head": d_head,
        "n_heads": config.num_attention_heads,
        "n_key_value_heads": grouped(config),
        "d_mlp": config.intermediate_size,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.hidden_act),
        "normalization_type": "LN",
        "eps": config.layer_norm_eps,
        "parallel_attn_mlp": True,
        **rotary(config, d_head),
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    shared = "" if cfg.n_key_value_heads is None else "_"
    projections = {"q_proj": ("W_Q", "b_Q"), "k_proj": (f"{shared}W_K", f"{shared}b_K")}
    projections["v_proj"] = (f"{shared}W_V", f"{shared}b_V")
    weights = [table("model.embed_tokens.weight", "embed.W_E")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        weights.append(vector(f"{theirs}.input_layernorm.weight", f"{ours}.ln1.w"))
        weights.append(vector(f"{theirs}.input_layernorm.bias", f"{ours}.ln1.b"))
        for name, (matrix, bias) in projections.items():
            attention = f"{theirs}.self_attn.{name}"
            weights.append(into_heads(f"{attention}.weight", f"{ours}.attn.{matrix}", cfg.d_head))
            weights.append(head_bias(f"{attention}.bias", f"{ours}.attn.{bias}", cfg.d_head))
        weights += [
            out_of_heads(f"{theirs}.self_attn.dense.weight", f"{ours}.attn.W_O", cfg.d_head),
            vector(f"{theirs}.self_attn.dense.bias", f"{ours}.attn.b_O"),
            linear(f"{theirs}.mlp.fc1.weight", f"{ours}.mlp.W_in"),
            vector(f"{theirs}.mlp.fc1.bias", f"{ours}.mlp.b_in"),
            linear(f"{theirs}.mlp.fc2.weight", f"{ours}.mlp.W_out"),
            vector(f"{theirs}.mlp.fc2.bias", f"{ours}.mlp.b_out"),
        ]
    final = "model.final_layernorm"
    weights += [vector(f"{final}.weight", "ln_final.w"), vector(f"{final}.bias", "ln_final.b")]
    return [*weights, vector("lm_head.bias", "unembed.b_U")]


def share_norm(model: "HookedTransformer") -> None:
    """Let the MLP of every block read through the norm of its attention, whose parameters the checkpoint has once."""
    from dissect.models.modules import SharedLayerNorm

    for block in model.blocks:
        block.ln2 = SharedLayerNorm(block.ln1)


PHI = Family(
    "PhiForCausalLM",
    "phi",
    _settings,
    _weights,
    adapt=share_norm,
    keys=keys(
        *("num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "max_position_embeddings"),
        *("rope_parameters", "partial_rotary_factor", "layer_norm_eps"),
        qk_layernorm=(False,),
    ),
)
