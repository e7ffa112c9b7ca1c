"""TensorBoard event files of a run."""

import os
from collections.abc import Mapping
from typing import Any

from transformer_lens import HookedTransformer

from dissect.errors import DissectError

_NOT_DRAWN = ("step", "epoch")


class TensorBoard:
    """Callback that writes every number of every step to ``directory``.

    Raises:
        DissectError: the tensorboard package is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DissectError(
                f"TensorBoard is not installed ({error}): pip install tensorboard, or leave it out"
            ) from error
        self._make, self._directory = SummaryWriter, os.fspath(directory)
        self._writer: Any = None  # made when there is something to write

    def __call__(self, model: HookedTransformer, record: Mapping[str, Any]) -> None:
        """Add a point to every curve."""
        self._writer = self._writer or self._make(self._directory)
        for name, value in record.items():
            if name not in _NOT_DRAWN and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()
