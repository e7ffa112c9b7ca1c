"""What a run says of each step, who is told of it, and the error of a run whose loss is no longer finite."""

from collections.abc import Callable
from typing import Any

from transformer_lens import HookedTransformer

from dissect.errors import DissectError

Record = dict[str, Any]
"""Numbers of one step: ``step`` (from 1), ``epoch`` (from 0), ``loss`` and its parts ``forget`` and ``retain``
(weighted, before the update), ``grad_norm`` (before clipping), ``lr``, ``tokens_per_second``, ``memory_mb`` (the peak
so far)."""
Callback = Callable[[HookedTransformer, Record], dict[str, Any] | None]
"""Called before the first step (``{"step": 0}``) and after each step, with the model in evaluation mode and without
gradients. What it returns goes into the log."""


class Diverged(DissectError):
    """The loss or its gradient is not finite. The model is that of the last saved state, if there was one."""

    def __init__(self, message: str, good: int | None) -> None:
        super().__init__(message)
        self.good = good
        """Number of steps that the model has taken; None where no state was saved."""
