"""OLMo (norms without weights, clipped queries, keys and values) and OLMo-2 (norms after each part)."""

from typing import Any

from transformer_lens import HookedTransformerConfig
from transformers import PretrainedConfig

from dissect.models.families.family import Family, grouped, refuse
from dissect.models.families.llama import QUERY_KEY_NORMS, decoder_settings, decoder_weights
from dissect.models.families.weights import Weight


def _olmo_settings(config: PretrainedConfig) -> dict[str, Any]:
    return decoder_settings(config, normalization_type="LN", eps=1e-5, clip_qkv=config.clip_qkv)


def _olmo_weights(config: PretrainedConfig, cfg: HookedTransformerConfig) -> list[Weight]:
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms={}, qkv_bias=bias, output_bias=bias, final_norm=False)


def _olmo2_settings(config: PretrainedConfig) -> dict[str, Any]:
    if grouped(config) is not None:
        # Its norms run over all heads of a projection at once; TransformerLens's own loader knows ungrouped heads only.
        heads = f"{config.num_key_value_heads} for {config.num_attention_heads} query heads"
        raise refuse(f"grouped key/value heads in OLMo-2 ({heads})", "OLMo-2 with as many key/value as query heads")
    return decoder_settings(config)


def _olmo2_weights(config: PretrainedConfig, cfg: HookedTransformerConfig) -> list[Weight]:
    norms = {"post_attention_layernorm": "ln1", "post_feedforward_layernorm": "ln2", **QUERY_KEY_NORMS}
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms=norms, qkv_bias=bias, output_bias=bias)


OLMO = Family("OlmoForCausalLM", "olmo", _olmo_settings, _olmo_weights, unit_norms=True)
OLMO2 = Family("Olmo2ForCausalLM", "olmo2", _olmo2_settings, _olmo2_weights)
