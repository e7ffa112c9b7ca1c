"""Phi-3, 3.5 and 4-mini: Llama with fused projections, partly rotated heads, and LongRoPE in the long variants."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, local_attention
from dissect.models.families.keys import DECODER, keys
from dissect.models.families.llama import NORMS, decoder_settings
from dissect.models.families.weights import Weight, linear, out_of_heads, table, vector


def _settings(config: NativeConfig) -> dict[str, Any]:
    kind = "global" if config.sliding_window is None else "local"
    return decoder_settings(config, **local_attention([kind] * config.num_hidden_layers, config.sliding_window))


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    shared, n_shared = ("", cfg.n_heads) if cfg.n_key_value_heads is None else ("_", cfg.n_key_value_heads)
    weights = [table("model.embed_tokens.weight", "embed.W_E")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w") for name, param in NORMS.items()]
        weights += [
            Weight(
                f"{theirs}.self_attn.qkv_proj.weight",
                (f"{ours}.attn.W_Q", f"{ours}.attn.{shared}W_K", f"{ours}.attn.{shared}W_V"),
                "(n h) d_model -> n d_model h",
                {"h": cfg.d_head},
                (cfg.n_heads, n_shared, n_shared),
            ),
            out_of_heads(f"{theirs}.self_attn.o_proj.weight", f"{ours}.attn.W_O", cfg.d_head),
            Weight(
                f"{theirs}.mlp.gate_up_proj.weight",
                (f"{ours}.mlp.W_gate", f"{ours}.mlp.W_in"),
                "d_mlp d_model -> d_model d_mlp",
                sizes=(config.intermediate_size,) * 2,
                axis=1,
            ),
            linear(f"{theirs}.mlp.down_proj.weight", f"{ours}.mlp.W_out"),
        ]
    return [*weights, vector("model.norm.weight", "ln_final.w")]


PHI3 = Family(
    "Phi3ForCausalLM",
    "phi3",
    _settings,
    _weights,
    keys=keys(*DECODER, "partial_rotary_factor", "original_max_position_embeddings", "sliding_window"),
)
