"""Llama and its kin: RMS norms before each part, rotary positions, a gated MLP, separate projections."""

from typing import Any

from dissect.models.families.family import (
    Family,
    HookedWidths,
    NativeConfig,
    activation,
    grouped,
    head_width,
    local_attention,
)
from dissect.models.families.keys import DECODER, keys
from dissect.models.families.rope import Rotation, rotary
from dissect.models.families.weights import Weight, head_bias, into_heads, linear, out_of_heads, table, vector

NORMS = {"input_layernorm": "ln1", "post_attention_layernorm": "ln2"}


def decoder_settings(config: NativeConfig, *, act: str | None = None, **settings: Any) -> dict[str, Any]:
    """Settings of every decoder with a gated MLP and rotary positions; ``settings`` adds to or overrides them.

    ``act`` is transformers' name of the activation function where the configuration has it under another key.
    """
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
        "act_fn": activation(act or config.hidden_act),
        "gated_mlp": True,
        "normalization_type": "RMS",
        "eps": getattr(config, "rms_norm_eps", 1e-5),
        **rotary(config, d_head, windowed="window_size" in settings),
        **settings,
    }


def decoder_weights(
    config: NativeConfig,
    cfg: HookedWidths,
    *,
    prefix: str = "model.",
    norms: dict[str, str] = NORMS,
    norm_bias: bool = False,
    qkv_bias: bool = False,
    output_bias: bool = False,
    final_norm: bool = True,
) -> list[Weight]:
    """The map of every decoder with separate projections.

    Args:
        prefix: what stands before the names of all tensors.
        norms: the norms of a layer, transformers' name to TransformerLens's.
        norm_bias: whether the norms have biases, the final one as well.
        qkv_bias, output_bias: whether the projections of the attention have biases.
        final_norm: whether the norm before the output head has weights.
    """
    shared = "" if cfg.n_key_value_heads is None else "_"  # grouped heads: TransformerLens stores them under _W_K
    projections = {"q_proj": ("W_Q", "b_Q"), "k_proj": (f"{shared}W_K", f"{shared}b_K")}
    projections["v_proj"] = (f"{shared}W_V", f"{shared}b_V")
    weights = [table(f"{prefix}embed_tokens.weight", "embed.W_E")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"{prefix}layers.{layer}", f"blocks.{layer}"
        weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w") for name, param in norms.items()]
        if norm_bias:
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}.b") for name, param in norms.items()]
        for name, (matrix, bias) in projections.items():
            weights.append(into_heads(f"{theirs}.self_attn.{name}.weight", f"{ours}.attn.{matrix}", cfg.d_head))
            if qkv_bias:
                weights.append(head_bias(f"{theirs}.self_attn.{name}.bias", f"{ours}.attn.{bias}", cfg.d_head))
        weights.append(out_of_heads(f"{theirs}.self_attn.o_proj.weight", f"{ours}.attn.W_O", cfg.d_head))
        if output_bias:
            weights.append(vector(f"{theirs}.self_attn.o_proj.bias", f"{ours}.attn.b_O"))
        for name, param in {"gate_proj": "W_gate", "up_proj": "W_in", "down_proj": "W_out"}.items():
            weights.append(linear(f"{theirs}.mlp.{name}.weight", f"{ours}.mlp.{param}"))
    if final_norm:
        weights.append(vector(f"{prefix}norm.weight", "ln_final.w"))
    if norm_bias:
        weights.append(vector(f"{prefix}norm.bias", "ln_final.b"))
    return weights


QUERY_KEY_NORMS = {"self_attn.q_norm": "attn.q_norm", "self_attn.k_norm": "attn.k_norm"}


def _llama_weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    return decoder_weights(config, cfg, qkv_bias=config.attention_bias, output_bias=config.attention_bias)


def _mistral_settings(config: NativeConfig) -> dict[str, Any]:
    kind = "global" if config.sliding_window is None else "local"
    return decoder_settings(config, **local_attention([kind] * config.num_hidden_layers, config.sliding_window))


def _qwen2_settings(config: NativeConfig) -> dict[str, Any]:
    return decoder_settings(config, **local_attention(config.layer_types, config.sliding_window))


def _qwen2_weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    return decoder_weights(config, cfg, qkv_bias=True)


def _qwen3_settings(config: NativeConfig) -> dict[str, Any]:
    window = local_attention(config.layer_types, config.sliding_window)
    return decoder_settings(config, use_qk_norm=True, **window)


def _qwen3_weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms=NORMS | QUERY_KEY_NORMS, qkv_bias=bias, output_bias=bias)


def _smollm3_settings(config: NativeConfig) -> dict[str, Any]:
    # Masks go by the type of a layer alone; use_sliding_window decides the types where the file does not say them.
    settings = decoder_settings(config, **local_attention(config.layer_types, config.sliding_window))
    if not all(config.no_rope_layers):
        d_head = head_width(config)
        rotated, still = Rotation(d_head).check(config), Rotation(d_head, still=True)
        settings["rotations"] = tuple(rotated if rope else still for rope in config.no_rope_layers)
    return settings


# mlp_bias: TransformerLens's gated MLP has no bias on the gate, and adds b_in after the product, not before it.
LLAMA = Family(
    "LlamaForCausalLM",
    "llama",
    decoder_settings,
    _llama_weights,
    keys=keys(*DECODER, "attention_bias", mlp_bias=(False,)),
)
MISTRAL = Family(
    "MistralForCausalLM", "mistral", _mistral_settings, decoder_weights, keys=keys(*DECODER, "sliding_window")
)
_QWEN = (*DECODER, "sliding_window", "use_sliding_window", "max_window_layers", "layer_types")
QWEN2 = Family("Qwen2ForCausalLM", "qwen2", _qwen2_settings, _qwen2_weights, keys=keys(*_QWEN))
QWEN3 = Family("Qwen3ForCausalLM", "qwen3", _qwen3_settings, _qwen3_weights, keys=keys(*_QWEN, "attention_bias"))
SMOLLM3 = Family(
    "SmolLM3ForCausalLM",
    "smollm3",
    _smollm3_settings,
    _llama_weights,
    keys=keys(
        *(*DECODER, "attention_bias", "layer_types", "sliding_window", "use_sliding_window"),
        *("no_rope_layers", "no_rope_layer_interval"),
        mlp_bias=(False,),
    ),
)
