"""OLMo (norms without weights, clipped queries, keys and values), OLMo-2 and OLMo-3 (norms after each part)."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, head_width, local_attention
from dissect.models.families.keys import BY_LAYER_TYPE, DECODER, keys, refuse
from dissect.models.families.llama import QUERY_KEY_NORMS, decoder_settings, decoder_weights
from dissect.models.families.weights import Weight


def olmo_settings(config: NativeConfig) -> dict[str, Any]:
    """Settings of OLMo, whose norms have an epsilon of their own that no configuration says."""
    return decoder_settings(config, normalization_type="LN", eps=1e-5, clip_qkv=config.clip_qkv)


def _olmo_weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms={}, qkv_bias=bias, output_bias=bias, final_norm=False)


def _olmo2_settings(config: NativeConfig, **settings: Any) -> dict[str, Any]:
    if (width := head_width(config)) * config.num_attention_heads != config.hidden_size:
        # Its norms run over all heads of a projection at once; TransformerLens makes that of the queries d_model wide.
        heads = f"{config.num_attention_heads} of width {width} for a model of width {config.hidden_size}"
        raise refuse(f"heads that are not as wide together as the model ({heads})", "head_dim = width / heads")
    return decoder_settings(config, **settings)


def _olmo3_settings(config: NativeConfig) -> dict[str, Any]:
    return _olmo2_settings(config, **local_attention(config.layer_types, config.sliding_window))


def _olmo2_weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    norms = {"post_attention_layernorm": "ln1", "post_feedforward_layernorm": "ln2", **QUERY_KEY_NORMS}
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms=norms, qkv_bias=bias, output_bias=bias)


OLMO = Family(
    "OlmoForCausalLM",
    "olmo",
    olmo_settings,
    _olmo_weights,
    unit_norms=True,
    owns=lambda config: "d_model" not in config,
    keys=keys(*DECODER, "attention_bias", "clip_qkv"),
)
_OLMO2 = (*DECODER, "attention_bias")
OLMO2 = Family("Olmo2ForCausalLM", "olmo2", _olmo2_settings, _olmo2_weights, keys=keys(*_OLMO2))
OLMO3 = Family(
    "Olmo3ForCausalLM",
    "olmo3",
    _olmo3_settings,
    _olmo2_weights,
    keys=keys(*_OLMO2, "layer_types", "sliding_window", BY_LAYER_TYPE),
)
