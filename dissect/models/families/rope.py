"""Rotary position embeddings: from transformers' parameters to TransformerLens's settings."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dissect.errors import DissectError
from dissect.models.families.family import NativeConfig
from dissect.models.families.keys import refuse

if TYPE_CHECKING:
    from dissect.models.modules import RotaryTable

SUPPORTED = "default, linear (without sliding windows), llama3, yarn, longrope"


def rotary(config: NativeConfig, d_head: int, *, windowed: bool = False) -> dict[str, Any]:
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
        per_layer = [parameters[kind] for kind in dict.fromkeys(config.layer_types)]
        if any(each != per_layer[0] for each in per_layer) or per_layer[0].get("rope_type", "default") != "default":
            return _different(config, d_head)
        parameters = per_layer[0]
    kind = parameters.get("rope_type", "default")
    try:
        if kind == "longrope":
            return _long(parameters, config, d_head)
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


@dataclass(frozen=True)
class Rotation:
    """How a layer rotates where TransformerLens does not compute it: as transformers itself does, or not at all."""

    d_head: int
    layer_type: str | None = None
    """Type of the layers whose parameters are meant, where each type has its own."""
    still: bool = False
    """True for layers without positions."""

    def check(self, config: NativeConfig) -> "Rotation":
        """Refuse an unknown kind of scaling.

        Raises:
            DissectError: names it.
        """
        kind = self._parameters(config).get("rope_type", "default")
        if kind not in ("default", "linear", "llama3", "yarn", "longrope"):
            raise refuse(f"the rotary embedding {kind!r}", SUPPORTED)
        return self

    def table(self, config: NativeConfig) -> "RotaryTable":
        """Frequencies as transformers computes them.

        Raises:
            KeyError: the parameters lack one that their kind needs.
        """
        import torch
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        from dissect.models.modules import RotaryTable

        parameters = self._parameters(config)
        kind, width = parameters.get("rope_type", "default"), _rotated_width(parameters, self.d_head)
        if self.still:
            return RotaryTable((0.0,) * (width // 2))
        if kind == "default":
            frequencies = 1.0 / (parameters["rope_theta"] ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
            return RotaryTable(tuple(frequencies.tolist()))
        for key in ("short_factor", "long_factor") if kind == "longrope" else ():
            factors = parameters[key]
            if not isinstance(factors, list) or len(factors) != width // 2:
                size = len(factors) if isinstance(factors, list) else repr(factors)
                raise DissectError(
                    f"config.json: rope_parameters need {width // 2} numbers in {key} for heads of which {width} "
                    f"components are rotated, got {size}"
                )
        frequencies, scaling = ROPE_INIT_FUNCTIONS[kind](config, None, layer_type=self.layer_type)
        return RotaryTable(tuple(frequencies.tolist()), float(scaling))

    def _parameters(self, config: NativeConfig) -> dict[str, Any]:
        parameters: dict[str, Any] = config.rope_parameters
        return parameters if self.layer_type is None else parameters[self.layer_type]


def rotary_tables(rotations: tuple[Rotation, ...], config: NativeConfig) -> "tuple[RotaryTable, ...]":
    """The table of each layer.

    Raises:
        DissectError: the parameters lack a key.
    """
    try:
        tables = {rotation: rotation.table(config) for rotation in dict.fromkeys(rotations)}
    except KeyError as error:
        raise DissectError(f"config.json: rope_parameters lack {error}: {config.rope_parameters}") from None
    return tuple(tables[rotation] for rotation in rotations)


def _rotated_width(parameters: dict[str, Any], d_head: int) -> int:
    return int(d_head * parameters.get("partial_rotary_factor", 1.0))


def _different(config: NativeConfig, d_head: int) -> dict[str, Any]:
    """Settings where layers of different types rotate differently, as in Gemma-3 and OLMo-3."""
    kinds = dict.fromkeys(config.layer_types)
    try:
        widths = {_rotated_width(config.rope_parameters[kind], d_head) for kind in kinds}
        if len(widths) > 1:
            raise refuse(f"rotary embeddings of different widths ({sorted(widths)})", "one width for all layers")
        rotations = {kind: Rotation(d_head, kind).check(config) for kind in kinds}
    except KeyError as error:
        raise DissectError(f"config.json: rope_parameters lack {error}: {config.rope_parameters}") from None
    long = [each for each in map(config.rope_parameters.get, kinds) if each.get("rope_type") == "longrope"]
    return {
        "positional_embedding_type": "rotary",
        **({"n_ctx": min(_original(each, config) for each in long)} if long else {}),
        "rotary_dim": widths.pop(),
        "rotations": tuple(rotations[kind] for kind in config.layer_types),
    }


def _long(parameters: dict[str, Any], config: NativeConfig, d_head: int) -> dict[str, Any]:
    """Settings of LongRoPE (arXiv:2402.13753) for texts within the original context, which are the only ones allowed.

    Longer ones rotate all their positions by other frequencies, the first as well, so that a text's beginning would
    no longer be computed alike in the text and alone.
    """
    return {
        "positional_embedding_type": "rotary",
        "n_ctx": _original(parameters, config),
        "rotary_base": parameters["rope_theta"],
        "rotary_dim": _rotated_width(parameters, d_head),
        "rotations": (Rotation(d_head).check(config),) * config.num_hidden_layers,
    }


def _original(parameters: dict[str, Any], config: NativeConfig) -> int:
    """The context within which the short factors of LongRoPE hold."""
    return int(min(config.max_position_embeddings, parameters["original_max_position_embeddings"]))


def _scaling(kind: str, parameters: dict[str, Any], config: NativeConfig) -> dict[str, Any] | None:
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
    attention_factor = parameters.get("attention_factor")
    if attention_factor is not None:
        return float(attention_factor)

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    over, under = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return scale(float(over)) / scale(float(under)) if over and under else scale(1.0)
