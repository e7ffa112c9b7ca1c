"""Names, shapes and dtypes of stored tensors, from the first bytes of safetensors files: no tensor is read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.models.files.hub import read_json

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Dtypes in safetensors files, as everything else calls them."""
_LENGTH = 8
"""Bytes of the number in front of the header, its length."""


@dataclass(frozen=True)
class Headers:
    """Shape and dtype of each tensor in some safetensors files."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]

    def names(self) -> Iterable[str]:
        """Names of all tensors."""
        return self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.shapes[name]

    def dtype(self, name: str) -> str:
        """Dtype that a tensor is stored in, for example ``float32``."""
        return self.dtypes[name]


def weight_file_names(directory: Path, stem: str, suffix: str) -> list[Path]:
    """The files ``stem.suffix``, one or many with an index; none where there is neither.

    Raises:
        DissectError: a file that the index names is missing.
    """
    single, index = directory / f"{stem}.{suffix}", directory / f"{stem}.{suffix}.index.json"
    if single.is_file():
        return [single]
    return _shards(index) if index.is_file() else []


def read_headers(files: Iterable[Path]) -> Headers:
    """The headers of safetensors files.

    Raises:
        DissectError: a file is truncated, or no safetensors file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in files:
        for name, entry in _header(file).items():
            if name != "__metadata__":
                shapes[name], dtypes[name] = tuple(entry["shape"]), DTYPES.get(entry["dtype"], entry["dtype"])
    return Headers(shapes, dtypes)


def _header(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH), "little")
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        end = max((each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"), default=0)
        if _LENGTH + length + end != file.stat().st_size:
            raise ValueError("its tensors do not end where the file does")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DissectError(f"{file} cannot be read: {error} (truncated or not a safetensors file)") from None
    return dict(header)


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise DissectError(f"{index} has no weight_map")
    files = [index.parent / name for name in dict.fromkeys(weight_map.values())]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DissectError(
            f"{index.parent} lacks {missing[0]}, which {index.name} names: {len(missing)} shards missing"
        )
    return files
