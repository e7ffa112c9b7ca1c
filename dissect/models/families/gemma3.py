"""Gemma-3: Gemma-2 with norms of queries and keys and other positions in windowed layers; also in a vision model."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from dissect.errors import DissectError
from dissect.models.families.family import Family, HookedWidths, NativeConfig, local_attention
from dissect.models.families.gemma2 import GEMMA, SANDWICHED, adapt, soft_cap
from dissect.models.families.keys import BY_LAYER_TYPE, keys
from dissect.models.families.llama import QUERY_KEY_NORMS, decoder_settings, decoder_weights
from dissect.models.families.weights import Weight


def _settings(config: NativeConfig) -> dict[str, Any]:
    return decoder_settings(
        config,
        act=config.hidden_activation,
        use_normalization_before_and_after=True,
        use_qk_norm=True,
        attn_scale=math.sqrt(config.query_pre_attn_scalar),
        output_logits_soft_cap=soft_cap(config, "final_logit_softcapping"),
        **local_attention(config.layer_types, config.sliding_window),
    )


def _weights(config: NativeConfig, cfg: HookedWidths, *, prefix: str = "model.") -> list[Weight]:
    bias, norms = config.attention_bias, SANDWICHED | QUERY_KEY_NORMS
    return decoder_weights(config, cfg, prefix=prefix, norms=norms, qkv_bias=bias, output_bias=bias)


def _text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        raise DissectError("config.json: Gemma3ForConditionalGeneration without a text_config")
    tied = {"tie_word_embeddings": config["tie_word_embeddings"]} if "tie_word_embeddings" in config else {}
    return {**text, **tied}


_KEYS = keys(
    *(*GEMMA, "hidden_activation", "layer_types", "sliding_window", "sliding_window_pattern", "query_pre_attn_scalar"),
    *("final_logit_softcapping", BY_LAYER_TYPE),
    unread=("attn_logit_softcapping",),  # transformers' Gemma-3 keeps it and never caps a score
)
GEMMA3 = Family("Gemma3ForCausalLM", "gemma3_text", _settings, _weights, adapt=adapt, keys=_KEYS)
_PREFIX = "language_model.model."
GEMMA3_WHOLE = Family(
    "Gemma3ForConditionalGeneration",
    "gemma3",
    _settings,
    partial(_weights, prefix=_PREFIX),
    adapt=adapt,
    keys=_KEYS,
    prefix=_PREFIX,
    other_prefixes=("model.language_model.",),
    head="language_model.lm_head.weight",
    other_heads=("lm_head.weight",),
    computes_as="Gemma3ForCausalLM",
    native_type="gemma3_text",
    translate=_text_config,
    carried=r"^(?:model\.)?(?=vision_tower\.|multi_modal_projector\.)",
)
"""The text model in a model that also sees; what sees is saved along as it was."""
