"""Metrics of a sweep, read from the residual stream after the last block."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.metrics.metric import Metric, Scored
from dissect.models.running.forward import normed_final, unembedded
from dissect.sweep.batch import NO_TARGET, Batch
from dissect.sweep.donor import Donor
from dissect.sweep.quadratic import Gram, SquaredDistance

CellRow = dict[str, np.ndarray]
"""Metric name to one value for each prompt of a batch."""


class Readout:
    """The metrics of a sweep on one batch.

    Where only the squared distance of logits is asked for, it is had without the logits (see ``quadratic``), unless
    the unembedding itself is what a cell swaps.
    """

    def __init__(
        self, model: HookedTransformer, metrics: Sequence[Metric], batch: Batch, donor: Donor, gram: Gram | None
    ) -> None:
        # What every cell is compared with: the donor's logits, (scored, d_vocab).
        self.model, self.metrics, self.batch = model, metrics, batch
        self.reference = donor.logits(batch)
        self.distance = None if gram is None else SquaredDistance(model, gram, donor.read(batch), self.reference)

    def donor(self) -> CellRow:
        """Measure the donor as it is."""
        return self._of_logits(self.reference)

    def rows(self, finals: Sequence[Float[Tensor, "batch pos d_model"]]) -> list[CellRow]:
        """Measure the model as it is now, from its residual streams after the last block of one or more passes."""
        # The scored positions of all passes are normed together, and unembedded only if a metric needs logits.
        streams = torch.cat([final[self.batch.scored] for final in finals])  # (passes * scored, d_model)
        entering = normed_final(self.model, streams)  # (passes * scored, d_model)
        if self.distance is not None and self.distance.gram.fits(self.model):
            return [self._of_distance(self.distance, part) for part in entering.chunk(len(finals))]
        logits = unembedded(self.model, entering)  # (passes * scored, d_vocab)
        return [self._of_logits(part) for part in logits.chunk(len(finals))]

    def _of_distance(self, distance: SquaredDistance, entering: Float[Tensor, "scored d_model"]) -> CellRow:
        values, batch = distance(entering), self.batch  # (scored,)
        return {m.name: m.reduced(values, batch.rows, len(batch.tokens)).cpu().numpy() for m in self.metrics}

    def _of_logits(self, logits: Float[Tensor, "scored d_vocab"]) -> CellRow:
        # Each metric: one number a scored position, then the mean of each prompt's own, (batch,).
        batch = self.batch
        scored = Scored(logits=logits, reference=self.reference, targets=batch.targets, foils=batch.foils)
        return {m.name: m.per_prompt(scored, batch.rows, len(batch.tokens)).cpu().numpy() for m in self.metrics}


def check_targets(metrics: Sequence[Metric], batch: Batch, scoring: str) -> None:
    """Refuse a metric that reads the answer's tokens where a scored position has none."""
    needy = [metric.name for metric in metrics if metric.needs_targets]
    if needy and bool((batch.targets == NO_TARGET).any()):
        raise DissectError(
            f"metric {needy[0]!r} reads the answer's tokens, but scoring={scoring!r} scores a position after "
            "the last one: use scoring='answer'"
        )
