"""Parameters of which every rank holds a part: reading them whole, writing the own part, changing places.

A sharded parameter is a ``DTensor``, as FSDP2 makes it. All that is done here to an ordinary tensor is what one would
do without these functions, so that callers need not know which of the two they have. What is said to be *collective*
has to be called by all ranks that share the parameter.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn
from transformer_lens import HookedTransformer

from dissect.models.modules import TiedUnembed
from dissect.undoing.gradient_mode import without_gradients

_SWAPS = itertools.count(1)


def is_shard(tensor: Any) -> bool:
    """Return whether other ranks hold the rest of it."""
    return hasattr(tensor, "placements") and hasattr(tensor, "full_tensor")


def gathered(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The whole tensor, detached; collective for a shard."""
    local: Tensor = tensor.detach()
    return local.full_tensor() if is_shard(local) else local  # type: ignore[attr-defined]


def own_part(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return this rank's part, detached, in the same memory: writing to it changes the parameter."""
    local: Tensor = tensor.detach()
    return local.to_local() if is_shard(local) else local  # type: ignore[attr-defined]


def part_for(whole: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The part of ``whole`` that this rank holds of ``like``, as a view: nothing else of it is read."""
    if not is_shard(like):
        return whole
    mesh, part = like.device_mesh, whole  # type: ignore[attr-defined]
    for axis, placement in enumerate(like.placements):  # type: ignore[attr-defined]
        if placement.is_shard():
            rank, size = mesh.get_local_rank(axis), part.shape[placement.dim]
            share = -(-size // mesh.size(axis))  # as torch.chunk cuts it: the last ones may have less, or nothing
            start = min(rank * share, size)
            part = part.narrow(placement.dim, start, min(share, size - start))
    return part


@without_gradients()
def put(parameter: Tensor, value: Shaped[Tensor, "..."]) -> None:
    """Write a value, whole or sharded, into a parameter, rounded to its format; collective if they lie otherwise."""
    own_part(parameter).copy_(laid_as(value, parameter))


def laid_as(value: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The part of a value, whole or sharded, that this rank holds of ``like``; collective if they lie otherwise."""
    return own_part(value) if _alike(value, like) else part_for(gathered(value), like)


@dataclass(frozen=True)
class Kept:
    """Value of a parameter before it was replaced."""

    values: Tensor
    swap: int


@without_gradients()
def as_it_is(parameter: nn.Parameter) -> Kept:
    """Return what ``put_back`` needs to undo whatever ``put_in`` does next."""
    if not is_shard(parameter):
        return Kept(parameter.data, 0)
    return Kept(own_part(parameter).clone(), swap_of(parameter))


@without_gradients()
def put_in(parameter: nn.Parameter, value: Shaped[Tensor, "..."]) -> None:
    """Let a parameter be ``value``, whole or sharded, until ``put_back``.

    An ordinary parameter takes the very tensor, nothing is copied. FSDP2 keeps its own view of a shard's memory, so
    there the values change; ``as_it_is`` keeps those that were there.
    """
    if not is_shard(parameter):
        parameter.data = gathered(value).to(device=parameter.device, dtype=parameter.dtype)
        return
    put(parameter, value)
    parameter._dissect_swap = next(_SWAPS)  # type: ignore[attr-defined]


@without_gradients()
def put_back(parameter: nn.Parameter, kept: Kept) -> None:
    """Undo ``put_in``, to the bit."""
    if not is_shard(parameter):
        parameter.data = kept.values
        return
    own_part(parameter).copy_(kept.values)
    parameter._dissect_swap = kept.swap  # type: ignore[attr-defined]


def swap_of(parameter: Tensor) -> int:
    """A number that is another while a shard is replaced."""
    return getattr(parameter, "_dissect_swap", 0)


def unembedding_identity(model: HookedTransformer) -> tuple[int, ...]:
    """Numbers that are the same as long as the unembedding is; see ``put_in``."""
    matrix = model.embed.W_E if isinstance(model.unembed, TiedUnembed) else model.unembed.W_U
    return tuple(swap_of(p) if is_shard(p) else p.data_ptr() for p in (matrix, model.unembed.b_U))


def _alike(first: Tensor, second: Tensor) -> bool:
    return (
        is_shard(first)
        and is_shard(second)
        and first.placements == second.placements  # type: ignore[attr-defined]
        and first.device_mesh == second.device_mesh  # type: ignore[attr-defined]
    )
