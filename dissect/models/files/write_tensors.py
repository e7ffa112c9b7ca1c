"""Tensors into a safetensors file; where that fails, such as on a full disk, the file is named."""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dissect.errors import DissectError


def write_tensors(
    tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str] | None = None, *, final: Path | None = None
) -> None:
    """Write contiguous tensors.

    Args:
        final: the name to call the file by where it is written under a temporary one.

    Raises:
        DissectError: it cannot be written.
    """
    try:
        save_file(dict(tensors), file, metadata=None if metadata is None else dict(metadata))
    except (SafetensorError, OSError) as error:
        raise DissectError(f"{final or file} cannot be written: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return what the system said, of an error of a library written in Rust: ``No space left on device``."""
    said = " ".join(str(error).split())
    found = re.search(r"([A-Z][^:()]*) \(os error \d+\)", said)
    return found[1] if found else said
