"""One forward pass of one model over a batch, and the parts of it that are kept."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.forward import caching, check_hook, final_residual, logits_at
from dissect.sweep.batch import Batch


@dataclass(frozen=True)
class Trace:
    """What is kept of a forward pass."""

    logits: Float[Tensor, "scored d_vocab"]
    """Float32, at the batch's scored positions."""
    activations: dict[str, Tensor]
    """By hook name."""
    final: Float[Tensor, "batch pos d_model"]
    """The residual stream after the last block."""


@torch.no_grad()
def trace(model: HookedTransformer, batch: Batch, names: Iterable[str] = ()) -> Trace:
    """Run ``model`` over ``batch`` and keep the activations at the hooks ``names``."""
    device = model.embed.W_E.device
    with caching(model, tuple(names)) as activations:
        final = final_residual(model, batch.tokens.to(device))
    return Trace(logits_at(model, final, batch.scored.to(device)), activations, final)


class Donor:
    """The model that swapped parts come from, run once a batch.

    The trace of the latest batch is kept, and all cells of the sweep share it. Interventions say beforehand which
    activations they will want (``want``), so nothing else is stored.
    """

    def __init__(self, model: HookedTransformer) -> None:
        self.model = model
        self._names: set[str] = set()
        self._index: int | None = None
        self._trace: Trace | None = None

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
            self._trace = trace(self.model, batch, sorted(self._names))
            self._index = batch.index
        return self._trace
