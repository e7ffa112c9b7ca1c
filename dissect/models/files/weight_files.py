"""The tensors of a checkpoint, checked against what its architecture needs, with the map to parameters."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.dtypes import dtype_name
from dissect.models.families.family import Family
from dissect.models.families.weights import Weight
from dissect.models.files.adapter import adapted_source, is_adapter, recorded_base
from dissect.models.files.file_check import check_dtypes, check_names
from dissect.models.files.hub import resolve
from dissect.models.files.reader import TensorSource, open_source


def locate(
    path: str | os.PathLike[str], *, revision: str | None = None, base: str | os.PathLike[str] | None = None
) -> tuple[Path, Path | None]:
    """Directory of the weights, and of the adapter if ``path`` is one.

    Raises:
        DissectError: no such checkpoint, or ``base`` given for something that is no adapter.
    """
    directory = resolve(path, revision=revision)
    if not is_adapter(directory):
        if base is not None:
            raise DissectError(f"base= is for adapters, but {path} has no adapter_config.json")
        return directory, None
    if base is not None:
        return resolve(base), directory
    recorded, recorded_revision = recorded_base(directory)
    try:
        found = resolve(recorded, revision=recorded_revision if not Path(recorded).is_dir() else None)
    except DissectError as error:
        raise DissectError(f"{path} is an adapter whose base cannot be found: {error}; give it with base=") from None
    return found, directory


@dataclass(frozen=True)
class WeightFiles:
    """Tensors by the name that transformers gives them, merged with an adapter if there is one."""

    source: TensorSource
    weights: list[Weight]
    names: dict[str, str]
    """Name of each tensor of the map in the files."""
    dtype: str
    """Of most of the stored weights."""

    @classmethod
    def open(
        cls, directory: Path, adapter: Path | None, family: Family, weights: list[Weight], *, tied: bool
    ) -> "WeightFiles":
        """Open and check the files, without reading tensors.

        Raises:
            DissectError: tensors are missing, left over or quantised, or the adapter does not fit.
        """
        source: TensorSource = open_source(directory)
        names = check_names(source, weights, family, tied=tied)
        dtype = check_dtypes(source, names.values())
        if adapter is not None:
            source = adapted_source(source, adapter, weights, names, tied=tied)
        return cls(source, weights, names, dtype)

    @property
    def params(self) -> set[str]:
        """The parameters that the files hold."""
        return {param for weight in self.weights for param in weight.params}

    def ordered(self) -> list[Weight]:
        """All tensors of the map, in the order in which reading them takes the least memory."""
        by_stored = {self.names[weight.name]: weight for weight in self.weights}
        return [by_stored[name] for name in self.source.order(by_stored)]

    def read(self, weight: Weight) -> Shaped[Tensor, "..."]:
        """One tensor as it is stored, to be let go before the next is read."""
        return self.source.read(self.names[weight.name])

    def parameters(
        self, weight: Weight, stored: Shaped[Tensor, "..."], *, dtype: torch.dtype, device: torch.device
    ) -> Iterator[tuple[str, Shaped[Tensor, "..."]]]:
        """Name and value of each parameter in a tensor, as copies that lie in memory as in the file.

        Raises:
            DissectError: it holds values that are not finite, or too large for ``dtype``.
        """
        for param, part in zip(weight.params, weight.split(stored), strict=True):
            value = torch.empty_like(part, dtype=dtype, device=device).copy_(part)
            check_finite(value, part, self.names[weight.name])
            yield param, value


def check_finite(value: Shaped[Tensor, "..."], stored: Shaped[Tensor, "..."], name: str) -> None:
    """Refuse values that are not finite, as they are stored or as they are in the model.

    Raises:
        DissectError: says which of the two.
    """
    if all(bool(torch.isfinite(end)) for end in torch.aminmax(value)):
        return
    if all(bool(torch.isfinite(end)) for end in torch.aminmax(stored)):
        raise DissectError(f"{name} has values too large for {dtype_name(value.dtype)}: load with another dtype")
    raise DissectError(f"{name} holds NaN or infinite values: the checkpoint is damaged, or its training diverged")
