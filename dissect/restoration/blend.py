"""Ways to mix a parameter's own values with the donor's: all of it, a part of it, or a point in between.

Each step takes what is to be put in and narrows it down: ``step(name, own, donated)``. Where a swap has no steps, the
donor's tensor itself takes the place of the recipient's.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.models.axes import as_matrix, from_matrix, head_axis, neuron_axis
from dissect.models.changing.spectrum import thin_factors


@runtime_checkable
class Mix(Protocol):
    """One way to mix a parameter with the donor's."""

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A tensor of the same shape; neither argument is written to."""
        ...


def blended(
    steps: Sequence[Mix], name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """All steps one after the other."""
    for step in steps:
        donated = step(name, own, donated)
    return donated


@dataclass(frozen=True)
class Heads:
    """The donor's in some heads of a matrix of attention."""

    heads: tuple[int, ...]

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Own values everywhere else."""
        return _sliced(own, donated, head_axis(name), self.heads)


@dataclass(frozen=True)
class Neurons:
    """The donor's in some neurons of a matrix of the MLP: rows of ``W_out`` (value vectors), columns of ``W_in``."""

    neurons: tuple[int, ...]

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Own values everywhere else."""
        return _sliced(own, donated, neuron_axis(name), self.neurons)


@dataclass(frozen=True)
class Between:
    """own + t (donated - own): 0 leaves the recipient's, 1 gives the donor's, both to the bit; beyond, it goes on."""

    t: float

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Computed in float32 at least."""
        if self.t in (0, 1):
            return donated if self.t else own
        high = torch.promote_types(own.dtype, torch.float32)
        return torch.lerp(own.to(high), donated.to(high), self.t).to(own.dtype)


@dataclass
class LowRank:
    """own + the best approximation of rank k to (donated - own): its first k singular directions.

    Attention's matrices are taken over all heads together, as they stand in the checkpoint. From full rank on it is the
    donor's tensor itself.
    """

    rank: int
    factors: "Factors" = field(repr=False)

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum, rounded once."""
        if self.rank >= min(as_matrix(name, own).shape):
            return donated
        left, right = self.factors.of(name, own, donated)
        mixed = own.to(left.dtype, copy=True)
        matrix = as_matrix(name, mixed)  # a view, where the parameter lies in memory as in the file
        matrix.addmm_(left[:, : self.rank], right[: self.rank])
        return from_matrix(name, matrix, own).to(own.dtype)


@dataclass
class Factors:
    """The change of each parameter as a product of thin matrices, found when first needed and kept for other ranks."""

    most: int
    """The highest rank that will be asked for."""
    _kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def of(
        self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "rows rank"], Float[Tensor, "rank columns"]]:
        """Columns and rows whose first k products add up to the best approximation of rank k; in float32 at least."""
        if name not in self._kept:
            high = torch.promote_types(own.dtype, torch.float32)
            self._kept[name] = thin_factors(as_matrix(name, donated.to(high) - own.to(high)), self.most)
        return self._kept[name]


@dataclass(frozen=True)
class Noise:
    """In place of a change, noise of the same norm on the same entries.

    It comes after all other steps: of a head or a neuron it is noise in that head or neuron, of a low-rank part as long
    as that part.
    """

    seed: int

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Noise depends on the seed and the parameter's name alone."""
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))
        high = torch.promote_types(own.dtype, torch.float32)
        change = donated.to(high) - own.to(high)
        noise = torch.randn(own.shape, generator=generator, dtype=high).to(own.device) * (change != 0)
        length = noise.norm()
        return own if not length else (own.to(high) + noise * (change.norm() / length)).to(own.dtype)


@dataclass(frozen=True)
class Own:
    """The recipient's own values: the control that has to change nothing."""

    def __call__(self, name: str, own: Float[Tensor, "..."], donated: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the recipient's values unchanged."""
        return own


def _sliced(
    own: Float[Tensor, "..."], donated: Float[Tensor, "..."], axis: int, members: tuple[int, ...]
) -> Float[Tensor, "..."]:
    # clone keeps the order of the axes in memory, and with it the way in which products are computed
    mixed = own.clone(memory_format=torch.preserve_format)
    index = torch.tensor(members, device=own.device)
    return mixed.index_copy_(axis, index, donated.index_select(axis, index))
