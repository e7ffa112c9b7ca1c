"""Rotary position embeddings: from transformers' parameters to TransformerLens's settings."""

import math
from typing import Any

from transformers import PretrainedConfig

from dissect.errors import DissectError
from dissect.models.families.family import refuse

SUPPORTED = "default, linear (without sliding windows), llama3, yarn"


def rotary(config: PretrainedConfig, d_head: int, *, windowed: bool = False) -> dict[str, Any]:
    """Settings of the rotary embedding.

    Args:
        config: transformers' own configuration, which has brought older spellings of the parameters into one form.
        d_head: width of a head, of which the partial factor takes a part.
        windowed: whether some layers have a sliding window; TransformerLens never scales the positions of those.

    Raises:
        DissectError: a kind of scaling that a HookedTransformer does not compute, or parameters that lack a key.
    """
    parameters = config.rope_parameters
    if parameters and all(isinstance(value, dict) for value in parameters.values()):
        per_layer = list(parameters.values())
        if any(each != per_layer[0] for each in per_layer):
            raise refuse("rotary embeddings that differ between layer types", "one for all layers")
        parameters = per_layer[0]
    kind = parameters.get("rope_type", "default")
    try:
        settings = _scaling(kind, parameters, config)
        base = parameters["rope_theta"]
    except KeyError as error:
        raise DissectError(f"config.json: rope_parameters of type {kind!r} lack {error}: {parameters}") from None
    if settings is None or (kind == "linear" and windowed):
        raise refuse(f"the rotary embedding {kind!r}{' in windowed layers' if settings else ''}", SUPPORTED)
    return {
        "positional_embedding_type": "rotary",
        "rotary_base": base,
        "rotary_dim": int(d_head * parameters.get("partial_rotary_factor", 1.0)),
        **settings,
    }


def _scaling(kind: str, parameters: dict[str, Any], config: PretrainedConfig) -> dict[str, Any] | None:
    """Settings of the scaling alone; None for an unknown kind."""
    if kind == "default":
        return {}
    if kind == "linear":
        return {"rotary_scaling_factor": float(parameters["factor"])}
    if kind == "llama3":
        return {
            "use_NTK_by_parts_rope": True,
            "NTK_by_parts_factor": parameters["factor"],
            "NTK_by_parts_low_freq_factor": parameters["low_freq_factor"],
            "NTK_by_parts_high_freq_factor": parameters["high_freq_factor"],
            "NTK_original_ctx_len": parameters["original_max_position_embeddings"],
        }
    if kind == "yarn":
        original = parameters["original_max_position_embeddings"]
        factor = float(parameters.get("factor") or config.max_position_embeddings / original)
        return {
            "use_yarn_rope": True,
            "yarn_factor": factor,
            "yarn_attention_factor": _yarn_attention_factor(parameters, factor),
            "yarn_beta_fast": parameters.get("beta_fast") or 32,
            "yarn_beta_slow": parameters.get("beta_slow") or 1,
            "yarn_original_max_position_embeddings": original,
            "yarn_truncate": parameters.get("truncate", True),
        }
    return None


def _yarn_attention_factor(parameters: dict[str, Any], factor: float) -> float:
    """How much YaRN scales sines and cosines, as transformers computes it (arXiv:2309.00071, section 3.4)."""
    given = parameters.get("attention_factor")
    if given is not None:
        return float(given)

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    over, under = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return scale(float(over)) / scale(float(under)) if over and under else scale(1.0)
