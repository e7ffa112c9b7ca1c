"""The model that swapped parts come from, run once a batch."""

import logging
from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.forward import check_hook
from dissect.sweep.batch import Batch
from dissect.sweep.trace import Trace, trace

log = logging.getLogger(__name__)


class Donor:
    """A model whose activations on the sweep's prompts are put into another.

    The trace of the latest batch is kept, and all cells of the sweep share it. Interventions say beforehand which
    activations they will want (``want``), so nothing else is stored.
    """

    def __init__(self, model: HookedTransformer) -> None:
        self.model = model
        self.fused_attention = True
        """Set by the runner, the same for all passes of a sweep."""
        self._names: set[str] = set()
        self._index: int | None = None
        self._trace: Trace | None = None

    @property
    def names(self) -> frozenset[str]:
        """The hooks whose activations are wanted."""
        return frozenset(self._names)

    def want(self, names: Iterable[str]) -> None:
        """Keep the activations at these hooks from the next batch on.

        Raises:
            DissectError: the donor has no such hook.
        """
        self._names.update(check_hook(self.model, name) for name in names)
        self._index = None

    def trace(self, batch: Batch) -> Trace:
        """The donor's forward pass over ``batch``."""
        if self._trace is None or self._index != batch.index:
            self._trace = None  # freed before the next one is made
            self._trace = self._run(batch)
            self._index = batch.index
        return self._trace

    def activations(self, batch: Batch) -> dict[str, Tensor]:
        """By hook name, what takes the place of the recipient's activations on ``batch``."""
        return self.trace(batch).activations

    def valid(self, batch: Batch) -> Bool[Tensor, "batch pos"] | None:
        """The positions at which there is something to put in; None: at all."""
        return None

    @torch.no_grad()
    def _run(self, batch: Batch) -> Trace:
        return trace(self.model, batch, sorted(self._names), fused_attention=self.fused_attention)
