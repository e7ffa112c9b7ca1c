"""The architectures that dissect loads, and how their checkpoints map to hooked models.

One file a kin. Each gives the configuration (from ``config.json``, never from a name) and one map of the weights.
"""

from collections.abc import Mapping
from typing import Any

from transformer_lens import HookedTransformerConfig
from transformers import AutoConfig, PretrainedConfig

from dissect.errors import DissectError
from dissect.models.families.family import Family
from dissect.models.families.gemma2 import GEMMA2
from dissect.models.families.gpt2 import GPT2
from dissect.models.families.gpt_neo import GPT_NEO
from dissect.models.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from dissect.models.families.neox import NEOX
from dissect.models.families.olmo import OLMO, OLMO2
from dissect.models.families.phi3 import PHI3
from dissect.models.families.weights import Weight, linear

FAMILIES: tuple[Family, ...] = (LLAMA, MISTRAL, QWEN2, QWEN3, OLMO, OLMO2, GPT2, GPT_NEO, NEOX, PHI3, GEMMA2)
"""Every architecture that can be loaded and saved."""


def supported() -> list[str]:
    """The architectures that can be loaded, as ``config.json`` calls them."""
    return [family.architecture for family in FAMILIES]


def find_family(config: Mapping[str, Any]) -> Family:
    """The family of a checkpoint, from the contents of its ``config.json``.

    Raises:
        DissectError: an architecture that is not supported, contradictory statements, or quantised weights.
    """
    architectures = config.get("architectures") or []
    model_type = config.get("model_type")
    matching = [
        family
        for family in FAMILIES
        if (family.architecture in architectures if architectures else family.model_type == model_type)
    ]
    what = ", ".join(map(str, architectures)) or f"model_type {model_type!r}"
    if not matching or len(architectures) > 1:
        raise DissectError(f"config.json: {what} is not supported; supported: {', '.join(supported())}")
    family = matching[0]
    if model_type not in (None, family.model_type):
        raise DissectError(
            f"config.json contradicts itself: architecture {family.architecture} but model_type {model_type!r} "
            f"(expected {family.model_type!r})"
        )
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown method") if isinstance(quantised, Mapping) else quantised
        raise DissectError(
            f"config.json: quantised weights ({method}) are not supported: use float32, bfloat16 or float16 weights"
        )
    return family


def transformers_config(family: Family, config: Mapping[str, Any]) -> PretrainedConfig:
    """transformers' own reading of ``config.json``: defaults filled in, older spellings brought into one form.

    Raises:
        DissectError: transformers refuses it.
    """
    given = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    try:
        return AutoConfig.for_model(family.model_type, **given)
    except Exception as error:  # its validators raise whatever the field's type raises
        reason = " ".join(str(error).split())
        raise DissectError(f"config.json: not a valid {family.model_type} configuration: {reason}") from error


def hooked_config(family: Family, config: PretrainedConfig, **settings: Any) -> HookedTransformerConfig:
    """The configuration of the hooked model; ``settings`` are what the checkpoint does not decide (dtype, device).

    Raises:
        DissectError: a feature that a HookedTransformer cannot express.
    """
    return HookedTransformerConfig(
        **family.settings(config),
        original_architecture=family.architecture,
        model_name=family.model_type,
        init_weights=False,
        **settings,
    )


def weight_map(family: Family, config: PretrainedConfig, cfg: HookedTransformerConfig) -> list[Weight]:
    """Every tensor of a checkpoint; without an output head where it is tied to the embedding."""
    head = [] if config.tie_word_embeddings else [linear(family.head, "unembed.W_U")]
    return [*family.weights(config, cfg), *head]
