"""Storage for the reference's distributions: the first in memory, the others in a file that nobody else sees."""

import os
import tempfile
from typing import IO

import torch
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.accounting import REFERENCE_BYTES
from dissect.unlearning.losses.top_k import TopK

IN_MEMORY = REFERENCE_BYTES
"""Bytes that stay in memory."""

_Location = tuple[int, torch.Size, torch.dtype]
"""Offset in the file, shape and dtype of a text's logits."""


class Shelf:
    """Distributions by the index of their text. The file is deleted with the process, however it ends."""

    def __init__(self) -> None:
        self._memory: dict[int, Tensor | TopK] = {}
        self._locations: dict[int, _Location] = {}
        self._file: IO[bytes] | None = None
        self._in_memory = 0
        self.n_bytes = 0
        """Bytes of all distributions."""

    def __setitem__(self, index: int, value: Tensor | TopK) -> None:
        """Keep a text's distributions.

        Raises:
            DissectError: there is no room for the file.
        """
        parts = (value.ids, value.log_probs, value.log_tail) if isinstance(value, TopK) else (value,)
        size = sum(part.nbytes for part in parts)
        self.n_bytes += size
        if isinstance(value, TopK) or self._in_memory + size <= IN_MEMORY:
            self._memory[index] = value
            self._in_memory += size
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, it is closed with the object
        offset = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(value.contiguous().view(torch.uint8).numpy().data)
            self._file.flush()
        except OSError as error:
            raise DissectError(
                f"the reference's logits cannot be kept in {tempfile.gettempdir()}: {error.strerror}; set "
                "reference_top_k=64, or TMPDIR to a larger disk"
            ) from error
        self._locations[index] = (offset, value.shape, value.dtype)

    def __getitem__(self, index: int) -> Tensor | TopK:
        """Return a text's distributions."""
        if index in self._memory:
            return self._memory[index]
        offset, shape, dtype = self._locations[index]
        assert self._file is not None
        self._file.seek(offset)
        data = bytearray(shape.numel() * dtype.itemsize)
        self._file.readinto(data)  # type: ignore[attr-defined]
        return torch.frombuffer(data, dtype=dtype).view(shape)

    def values(self) -> list[Tensor | TopK]:
        """The distributions in memory."""
        return list(self._memory.values())
