"""Dtypes that a model can have."""

import torch

from dissect.errors import DissectError

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
"""The names that ``load`` takes for a dtype, besides ``"auto"``."""


def find_dtype(wanted: str | torch.dtype) -> torch.dtype:
    """The dtype of that name.

    Raises:
        DissectError: none that a model can have.
    """
    dtype = wanted if isinstance(wanted, torch.dtype) else DTYPES.get(wanted)
    if dtype is None or dtype not in DTYPES.values():
        raise DissectError(f"unknown dtype {str(wanted)!r}: choose from {', '.join(DTYPES)}")
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
