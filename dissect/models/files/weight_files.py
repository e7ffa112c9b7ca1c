"""The tensors of a checkpoint, checked against what its architecture needs, with the map to parameters."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.dtypes import DTYPES, dtype_name
from dissect.models.families.family import Family
from dissect.models.families.weights import Weight
from dissect.models.files.adapter import adapted_source, has_adapter, is_adapter, recorded_base
from dissect.models.files.file_check import check_dtypes, check_names
from dissect.models.files.hub import read_json, resolve
from dissect.models.files.reader import TensorSource, open_source

logger = logging.getLogger(__name__)


class BaseUnavailable(DissectError):
    """The base model that an adapter records cannot be had, or is stored in 4 or 8 bits."""

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(f"{why}{way_out}")
        self.why = why


def locate(
    path: str | os.PathLike[str], *, revision: str | None = None, base: str | os.PathLike[str] | None = None
) -> tuple[Path, Path | None]:
    """Directory of the weights, and of the adapter if ``path`` is one.

    Where a directory holds both, its weights are taken as they are, and the log says so; with ``base`` the adapter is
    taken.

    Raises:
        DissectError: no such checkpoint, or ``base`` given for something that is no adapter.
        BaseUnavailable: the recorded base of an adapter cannot be found or read.
    """
    directory = resolve(path, revision=revision)
    if base is not None:
        if not has_adapter(directory):
            raise DissectError(f"base= is for adapters, but {path} has no adapter_config.json")
        base_directory = resolve(base)
        _check_whole(base_directory, path, base)
        return base_directory, directory
    if not is_adapter(directory):
        if has_adapter(directory):
            logger.warning(
                "%s holds whole weights and an adapter: the weights are taken as they are, without the adapter; "
                "to merge it give its base model (base=, --adapter-base), which may be this directory",
                path,
            )
        return directory, None
    try:
        recorded, recorded_revision = recorded_base(directory)
    except DissectError as error:
        raise BaseUnavailable(str(error)) from None
    try:
        base_directory = resolve(recorded, revision=recorded_revision if not Path(recorded).is_dir() else None)
    except DissectError as error:
        why = f"{path} is an adapter whose base cannot be found: {error}"
        raise BaseUnavailable(why, "; give it with base=") from None
    _check_whole(base_directory, path, recorded)
    if (method := _stored_quantised(base_directory)) is not None:
        why = f"{path} is an adapter whose base {recorded} is stored as quantised weights ({method})"
        raise BaseUnavailable(why, ": give the same model in 16 or 32 bits with base=")
    return base_directory, directory


def _check_whole(directory: Path, path: str | os.PathLike[str], base: str | os.PathLike[str]) -> None:
    """Refuse an adapter as the base of another: what it was merged into would be a guess."""
    if is_adapter(directory):
        raise DissectError(
            f"the base of {path} would be {base}, which is an adapter itself: merge that one first "
            "(dissect.save_hf(dissect.load(...), ...)) and give the whole model with base="
        )


def _stored_quantised(directory: Path) -> str | None:
    """The method by which the weights in a directory are quantised; None for float weights."""
    if not (directory / "config.json").is_file() or (method := _quantisation(directory)) is None:
        return None
    source = open_source(directory)
    return None if all(source.dtype(name) in DTYPES for name in source.names()) else method


@dataclass(frozen=True)
class WeightFiles:
    """Tensors by the name that transformers gives them, merged with an adapter if there is one."""

    source: TensorSource
    weights: list[Weight]
    names: dict[str, str]
    """Name of each tensor of the map in the files."""
    dtype: str
    """Dtype of most of the stored weights."""

    @classmethod
    def open(
        cls, directory: Path, adapter: Path | None, family: Family, weights: list[Weight], *, tied: bool
    ) -> "WeightFiles":
        """Open and check the files, without reading tensors.

        Raises:
            DissectError: tensors are missing, left over or quantised, or the adapter does not fit.
        """
        source: TensorSource = open_source(directory)
        method = _quantisation(directory)
        try:
            names = check_names(source, weights, family, tied=tied)
            dtype = check_dtypes(source, names.values())
        except DissectError as error:
            if method is None:
                raise
            raise DissectError(
                f"quantised weights ({method}) are not supported: use float32, bfloat16 or float16 weights ({error})"
            ) from error
        if method is not None:
            logger.warning(
                "config.json says quantised weights (%s), but the files hold %s: taken as it is", method, dtype
            )
        if adapter is not None:
            source = adapted_source(source, adapter, weights, names, family, tied=tied)
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


def _quantisation(directory: Path) -> str | None:
    """The method in the ``quantization_config`` of ``config.json``, which is often left over beside float weights."""
    settings = read_json(directory / "config.json").get("quantization_config")
    if not settings:
        return None
    return str(settings.get("quant_method", "unknown method") if isinstance(settings, Mapping) else settings)


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
