"""Reading the tensors of a checkpoint one by one, without ever holding its files in memory."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.files.headers import DTYPES, weight_file_names

_HELD = 32 << 20
"""Bytes read from a mapped file before it is mapped anew, because pages that were read count as memory in use."""


@runtime_checkable
class TensorSource(Protocol):
    """Tensors by name."""

    def names(self) -> Iterable[str]:
        """Names of all tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        ...

    def dtype(self, name: str) -> str:
        """Dtype that a tensor is stored in, for example ``float32``, without reading it."""
        ...

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        """The tensor on the CPU in its stored dtype, to be read only, and let go before the next is read."""
        ...

    def order(self, names: Iterable[str]) -> list[str]:
        """``names`` in the order in which reading them takes the least memory."""
        ...


def open_source(directory: Path, stem: str = "model", binary_stem: str = "pytorch_model") -> TensorSource:
    """The weights in a directory: safetensors before ``pytorch_model.bin``, one file or many.

    Raises:
        DissectError: there are none, or a file is missing, truncated or no such file at all.
    """
    for base, suffix, kind in ((stem, "safetensors", _Safetensors), (binary_stem, "bin", _Binary)):
        if files := weight_file_names(directory, base, suffix):
            return kind(files)
    raise DissectError(
        f"{directory} has no weights: neither {stem}.safetensors nor {binary_stem}.bin, nor shards of one"
    )


class _Safetensors:
    def __init__(self, files: list[Path]) -> None:
        self._file_of: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._handle: Any = None
        self._handle_file: Path | None = None
        self._read = 0
        for file in files:
            handle = self._open(file)
            for name in handle.keys():  # noqa: SIM118 - a handle is no mapping
                header = handle.get_slice(name)
                self._file_of[name] = file
                self._shapes[name] = tuple(header.get_shape())
                self._dtypes[name] = DTYPES.get(header.get_dtype(), header.get_dtype())

    def names(self) -> Iterable[str]:
        return self._file_of

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def dtype(self, name: str) -> str:
        return self._dtypes[name]

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        tensor: Tensor = self._open(self._file_of[name]).get_tensor(name)
        self._read += tensor.nbytes
        return tensor

    def order(self, names: Iterable[str]) -> list[str]:
        # A tensor and its copy in the model are in memory together: the largest first, while the model is small.
        return sorted(names, key=lambda name: -torch.Size(self.shape(name)).numel())

    def _open(self, file: Path) -> Any:
        if self._handle_file != file or self._read > _HELD:
            self._handle, self._handle_file, self._read = None, None, 0
            try:
                self._handle = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise DissectError(f"{file} cannot be read: {error} (truncated or not a safetensors file)") from None
            self._handle_file = file
        return self._handle


class _Binary:
    """Pickled weights, read with ``weights_only=True``: they cannot run code."""

    def __init__(self, files: list[Path]) -> None:
        self._file_of: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        self._loaded: Path | None = None
        self._mapped = True
        self._read = 0
        for file in files:
            for name, tensor in self._open(file).items():
                self._file_of[name] = file
                self._shapes[name] = tuple(tensor.shape)
                self._dtypes[name] = str(tensor.dtype).removeprefix("torch.")

    def names(self) -> Iterable[str]:
        return self._file_of

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def dtype(self, name: str) -> str:
        return self._dtypes[name]

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        tensor = self._open(self._file_of[name])[name]
        self._read += tensor.nbytes
        return tensor.detach()

    def order(self, names: Iterable[str]) -> list[str]:
        files = {file: number for number, file in enumerate(dict.fromkeys(self._file_of.values()))}
        return sorted(names, key=lambda name: (files[self._file_of[name]], -torch.Size(self.shape(name)).numel()))

    def _open(self, file: Path) -> dict[str, Tensor]:
        if self._loaded != file or (self._mapped and self._read > _HELD):
            self._tensors, self._loaded, self._read = {}, None, 0
            tensors = self._load(file)
            if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
                raise DissectError(f"{file} is no state dict: a mapping of names to tensors is needed")
            self._tensors, self._loaded = tensors, file
        return self._tensors

    def _load(self, file: Path) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is an error
                self._mapped = zipfile.is_zipfile(file)  # files of torch before 1.6 are no archives: cannot be mapped
                return torch.load(file, map_location="cpu", weights_only=True, mmap=self._mapped)
        except Exception as error:  # a damaged pickle raises anything
            raise DissectError(f"{file} {_why_unreadable(error)}") from None


def _why_unreadable(error: Exception) -> str:
    """Say it in our own words: torch's advise to switch off what keeps a file from running code."""
    said = str(error)
    if named := re.search(r"GLOBAL (\S+) was not an allowed global|Unsupported (?:global|class) (\S+)", said):
        what = named[1] or named[2]
        return (
            f"cannot be read: it holds more than tensors ({what:.100}), which could run code: have its authors save it "
            "as safetensors"
        )
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in said:
        return (
            "cannot be read as weights alone: it is truncated, or holds more than tensors, which could run code: "
            "download it again, or have its authors save it as safetensors"
        )
    reason = (said.strip().splitlines() or [type(error).__name__])[0]
    return f"cannot be read: {reason:.200} (truncated, or no weights)"
