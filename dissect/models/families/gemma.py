"""Gemma, the first: Llama with a scaled embedding and norms whose weights are offsets from one."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig
from dissect.models.families.gemma2 import GEMMA, adapt
from dissect.models.families.keys import keys
from dissect.models.families.llama import decoder_settings, decoder_weights
from dissect.models.families.weights import Weight


def _settings(config: NativeConfig) -> dict[str, Any]:
    # transformers has turned the "gelu" of the first files into the approximation that was meant
    return decoder_settings(config)


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    return decoder_weights(config, cfg, qkv_bias=config.attention_bias, output_bias=config.attention_bias)


GEMMA1 = Family(
    "GemmaForCausalLM", "gemma", _settings, _weights, adapt=adapt, keys=keys(*GEMMA, unread=("hidden_activation",))
)
