"""The tensors of a base model, changed by an adapter on the way from the file into the model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dissect.models.files.reader import TensorSource


@dataclass(frozen=True)
class AdapterChange:
    """Change that the adapter makes to one tensor of the base."""

    tensors: TensorSource
    names: Mapping[str, str]
    """Names of the factors ``A`` and ``B``, and of the ``whole`` weight that replaces the base's."""
    scale: float
    transposed: bool

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the product of the factors and of the whole weight, as far as they are there."""
        sizes: list[tuple[int, ...]] = []
        if "A" in self.names:
            out, inner = self.tensors.shape(self.names["B"])[0], self.tensors.shape(self.names["A"])[1]
            sizes.append((inner, out) if self.transposed else (out, inner))
        if "whole" in self.names:
            sizes.append(self.tensors.shape(self.names["whole"]))
        return sizes

    def is_nothing(self) -> bool:
        """Return True if the base's tensor stays as it is: B was never trained and is zero, or A or the scale is."""
        if "whole" in self.names:
            return False
        return self.scale == 0 or not all(bool(self.tensors.read(self.names[factor]).any()) for factor in "BA")

    def apply(self, base: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the base's tensor with the change added, in float32 at least."""
        if "whole" in self.names:
            base = self.tensors.read(self.names["whole"])
        if "A" not in self.names:
            return base
        delta = self.tensors.read(self.names["B"]).float() @ self.tensors.read(self.names["A"]).float() * self.scale
        # Whatever the files' dtype, the sum is taken in float32 at least and rounded once, to the dtype of the model.
        high = base if base.dtype == torch.float64 else base.float()
        return high + (delta.T if self.transposed else delta)


class MergedSource:
    """A source of tensors, as `TensorSource` says, that are changed on the way."""

    def __init__(self, source: TensorSource, changes: Mapping[str, AdapterChange]) -> None:
        self._source = source
        self._changes = changes

    def names(self) -> Iterable[str]:
        return self._source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._changes[name].shapes()[0] if name in self._changes else self._source.shape(name)

    def dtype(self, name: str) -> str:
        return self._source.dtype(name)

    def order(self, names: Iterable[str]) -> list[str]:
        return self._source.order(names)

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        stored = self._source.read(name)
        return self._changes[name].apply(stored) if name in self._changes else stored
