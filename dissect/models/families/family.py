"""Description of a family of architectures, and the parts that all families share."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dissect.errors import DissectError
from dissect.models.families.keys import Keys, refuse
from dissect.models.families.weights import Weight

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer
    from transformers import PretrainedConfig as NativeConfig
else:  # descriptions and plans read configurations, and do not wait for torch
    NativeConfig = Any


@runtime_checkable
class HookedWidths(Protocol):
    """The part of a ``HookedTransformerConfig`` that the maps of the weights need."""

    n_layers: int
    n_ctx: int
    n_heads: int
    n_key_value_heads: int | None
    d_head: int


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one architecture become hooked models."""

    architecture: str
    """Name in the ``architectures`` of ``config.json``."""
    model_type: str
    """Name in the ``model_type`` of ``config.json``."""
    settings: Callable[[NativeConfig], dict[str, Any]]
    """Fields of ``HookedTransformerConfig``; refuses what a hooked model cannot express."""
    weights: Callable[[NativeConfig, HookedWidths], list[Weight]]
    """Every tensor of the checkpoint but the output head, which `dissect.models.families.weight_map` adds."""
    prefix: str = "model."
    """Prefix of the names of all tensors but the output head's."""
    embedding: str = "embed_tokens.weight"
    """Name of the token embedding, without the prefix."""
    head: str = "lm_head.weight"
    """Name of the output head, as transformers writes it into files."""
    unit_norms: bool = False
    """True if the norms have no weights in the checkpoint, so that TransformerLens's stay at one."""
    adapt: Callable[["HookedTransformer"], None] | None = None
    """Replaces modules of the empty hooked model where TransformerLens's own compute from other parameters."""
    keys: Keys = field(default_factory=Keys)
    """Treatment of each key of ``config.json`` that transformers reads."""
    other_types: tuple[str, ...] = ()
    """Further spellings of ``model_type``."""
    other_prefixes: tuple[str, ...] = ()
    """Further spellings of ``prefix`` in files."""
    other_heads: tuple[str, ...] = ()
    """Further names of the output head in files."""
    computes_as: str = ""
    """Architecture that this one computes the same as, in another layout: the two can be compared."""
    native_type: str = ""
    """The ``model_type`` of the transformers configuration, where it is not ``model_type``."""
    translate: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """From the contents of ``config.json`` to the keys of the transformers configuration, where they differ."""
    owns: Callable[[Mapping[str, Any]], bool] | None = None
    """Test that a ``config.json`` is of this layout, where another family has the same names."""
    carried: str = ""
    """Regular expression for tensors that are no part of the language model, and are saved along as they were."""


BUFFERS = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias)$")
"""Tensors in older checkpoints that are no parameters: transformers computes them anew."""

_ACTIVATIONS = {"swish": "silu", "gelu_python": "gelu"}
# Not TransformerLens's "solu", which is no function of transformers, nor "xielu", which has parameters of its own.
ACTIVATIONS = ("gelu_new", "gelu_fast", "silu", "relu", "gelu", "gelu_pytorch_tanh", "relu2")
"""Activation functions of hooked models, by TransformerLens's names."""


def activation(name: str) -> str:
    """TransformerLens's name for the activation function that transformers calls ``name``."""
    translated = _ACTIVATIONS.get(name, name)
    if translated not in ACTIVATIONS:
        raise refuse(f"the activation {name!r}", ", ".join(ACTIVATIONS))
    return translated


_POSITIVE = ("n_layers", "d_model", "n_ctx", "d_head", "n_heads", "d_mlp", "d_vocab", "rotary_base", "rotary_dim")


def check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse sizes that no model has, which transformers does not look at before it computes.

    Raises:
        DissectError: a size that is zero, negative or no number, by TransformerLens's name.
    """
    for name in _POSITIVE:
        value = settings.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise DissectError(f"config.json: {name} (TransformerLens's name) must be a positive number, got {value!r}")


def grouped(config: NativeConfig) -> int | None:
    """The number of key/value heads where it is smaller than that of the query heads, else None."""
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    if heads % shared:
        raise DissectError(f"config.json: {heads} attention heads cannot share {shared} key/value heads evenly")
    return None if shared == heads else shared


def head_width(config: NativeConfig) -> int:
    """Width of one attention head: said by some configurations, else the model's width by the number of heads."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(width)


def local_attention(kinds: Sequence[str], window: int | None) -> dict[str, Any]:
    """Settings for layers that see only the last ``window`` tokens, the current one included.

    ``kinds`` says for each layer ``"local"`` or ``"global"``, or as newer configurations do, ``"sliding_attention"``
    or ``"full_attention"``.
    """
    words = {"sliding_attention": "local", "full_attention": "global", "local": "local", "global": "global"}
    unknown = [kind for kind in kinds if kind not in words]
    if unknown:
        raise refuse(f"layers of the attention type {unknown[0]!r}", ", ".join(words))
    attn_types = [words[kind] for kind in kinds]
    if "local" not in attn_types:
        return {}
    if window is None:
        raise DissectError("config.json: layers with sliding attention, but no sliding_window")
    return {"use_local_attn": True, "window_size": window, "attn_types": attn_types}
