"""From the residual stream after the last block to the metrics of a sweep."""

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

Row = dict[str, np.ndarray]
"""By metric, one value for each prompt of a batch."""


class Readout:
    """How the metrics of a sweep are taken on one batch.

    Where only the squared distance of logits is asked for, it is had without the logits (see ``quadratic``), unless
    the unembedding itself is what a cell swaps.
    """

    def __init__(
        self, model: HookedTransformer, metrics: Sequence[Metric], batch: Batch, donor: Donor, gram: Gram | None
    ) -> None:
        self.model, self.metrics, self.batch = model, metrics, batch
        self.reference = donor.logits(batch)
        self.distance = None if gram is None else SquaredDistance(model, gram, donor.read(batch), self.reference)

    def donor(self) -> Row:
        """The donor as it is."""
        return self._of_logits(self.reference)

    def rows(self, finals: Sequence[Float[Tensor, "batch pos d_model"]]) -> list[Row]:
        """The model as it is now, with its residual streams after the last block of one or more passes."""
        entering = normed_final(self.model, torch.cat([final[self.batch.scored] for final in finals]))
        if self.distance is not None and self.distance.gram.fits(self.model):
            return [self._of_distance(self.distance, part) for part in entering.chunk(len(finals))]
        return [self._of_logits(part) for part in unembedded(self.model, entering).chunk(len(finals))]

    def _of_distance(self, distance: SquaredDistance, entering: Float[Tensor, "scored d_model"]) -> Row:
        values, batch = distance(entering), self.batch
        return {m.name: m.reduced(values, batch.rows, len(batch.tokens)).cpu().numpy() for m in self.metrics}

    def _of_logits(self, logits: Float[Tensor, "scored d_vocab"]) -> Row:
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
