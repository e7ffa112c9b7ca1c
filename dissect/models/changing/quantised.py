"""Quantisation on the hooked model itself: matrices rounded to 8 or 4 bits."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError, near_miss
from dissect.keywords import keywords
from dissect.models.changing.exchange import check_in_memory, exchanged
from dissect.models.changing.rounding import FORMATS, rounded
from dissect.models.checkpoint import checkpoint_of, weights_of
from dissect.models.families.weights import Weight
from dissect.undoing.change import Change


@keywords()
def quantised(model: HookedTransformer, format: Any, *, embeddings: bool = False) -> Change[HookedTransformer]:
    """``model`` as it computes after quantisation, in the body only.

    Every matrix of the layers' attention and MLPs is replaced by the values that a quantised checkpoint holds for it
    (`models.changing.rounding.rounded`), as the checkpoint stores it: a fused matrix of queries, keys and values is
    rounded as one, and GPT-2's, which are stored (in, out), are turned first, as transformers does. Norms, biases and
    activations stay as they are. So ``nf4`` is what bitsandbytes' 4 bits compute (blocks of 64, scales not quantised
    themselves); ``int8`` are the weights of its LLM.int8(), which also rounds activations; ``int4`` is rounding to
    nearest with a scale for 128 weights of a row.

    Undone to the bit afterwards, also after an exception or Ctrl-C; what was trained in the body is gone. In the body
    the model takes the memory of its matrices twice, and its fingerprint, and ``model.checkpoint.quantised``, say what
    it is.

    Args:
        format: ``int8``, ``int4`` or ``nf4``.
        embeddings: round the embedding and the unembedding as well, which quantised checkpoints commonly leave as they
            are.

    Raises:
        DissectError: another format, a model that dissect did not load, one that is quantised already, or whose weights
            are not in memory.

    Example:
        >>> model = dissect.load("runs/demo/npo")
        >>> with dissect.quantised(model, "int4"):
        ...     model.checkpoint.quantised
        'int4'
        >>> model.checkpoint.quantised
        ''
    """
    check_format(format)
    check_in_memory(model)
    info = checkpoint_of(model)
    if info.quantised:
        raise DissectError(f"the model is quantised already ({info.quantised}): leave that context first")
    matrices = _matrices(model, embeddings)
    values = (pair for weight in matrices for pair in _rounded(model, weight, format))
    label = f"{format} with embeddings" if embeddings else format
    change = exchanged(model, values, f"quantised {label}")

    def quantise() -> None:
        change.do()
        model.checkpoint = replace(checkpoint_of(model), quantised=label)

    return Change(model, quantise, change.undo)


def check_format(format: Any) -> None:
    """Refuse formats that there are not.

    Raises:
        DissectError: names those there are.
    """
    if format not in FORMATS:
        hint = near_miss(str(format), FORMATS)
        raise DissectError(f"no quantised format {format!r}{hint}: choose from {', '.join(FORMATS)}")


def _matrices(model: HookedTransformer, embeddings: bool) -> list[Weight]:
    """The tensors of the checkpoint that are rounded."""
    outside = ("embed.W_E", "unembed.W_U") if embeddings else ()
    return [weight for weight in weights_of(model) if weight.params[0] in outside or _in_layers(weight.params[0])]


def _in_layers(name: str) -> bool:
    return name.startswith("blocks.") and name.rpartition(".")[2].lstrip("_").startswith("W_")


def _rounded(model: HookedTransformer, weight: Weight, format: str) -> Iterator[tuple[str, Shaped[Tensor, "..."]]]:
    """Name and new value of each parameter in a stored matrix, lying in memory as the old one does."""
    stored = weight.join([model.get_parameter(name).detach() for name in weight.params])
    new = rounded(stored.T, format).T if weight.fan_in_first else rounded(stored, format)
    for name, part in zip(weight.params, weight.split(new), strict=True):
        yield name, torch.empty_like(model.get_parameter(name)).copy_(part)
