"""The recovery of sets of blocks, exactly and to first order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.foils import check_foils, foil_targets
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.metrics.metric import Metric, Scored
from dissect.restoration.candidates import Candidate
from dissect.restoration.parameter_scores import TotalObjective, parameter_scores
from dissect.restoration.parameter_swap import Parameters, ParameterSwap
from dissect.sweep.batch import Batch, batches
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell
from dissect.sweep.runner import DONOR, FIRST_CELL, RECIPIENT, run

BlockSet = Sequence[Candidate]


@dataclass
class SetRecovery:
    """The recovery of a recipient on some prompts with sets of a donor's blocks."""

    recipient: HookedTransformer
    donor: Donor
    parameters: Parameters
    prompts: Prompts
    metric: Metric
    pooled: bool
    batch_size: int
    _weights: Float[np.ndarray, " prompt"] | None = field(default=None, init=False)
    """∂recovery/∂metric of each prompt, known after the first run."""

    def recoveries(self, sets: Sequence[BlockSet]) -> list[float]:
        """Return the recovery of each set, from an exact run; 0 for the empty one.

        Raises:
            DissectError: donor and recipient agree on all prompts.
        """
        cells = [Cell("set", number, (), intervention=self._swap(members)) for number, members in enumerate(sets)]
        if not cells:
            return []
        rows = self._rows(cells)
        self._learn(rows)
        changes = rows[FIRST_CELL:] - rows[RECIPIENT]
        assert self._weights is not None
        return [float(np.nansum(change * self._weights)) for change in changes]

    def scores(self, members: BlockSet, candidates: Sequence[Candidate]) -> Mapping[Candidate, float]:
        """Estimate to first order what adding each candidate to a set would change."""
        if self._weights is None:
            self._learn(self._rows([]))
        names = [name for candidate in candidates if candidate not in members for name in candidate.names]
        totals = dict.fromkeys(names, 0.0)
        for batch in self._batches():
            self.donor.turn_to(batch)
            with self._swap(members).applied(self.recipient, batch):
                changes = parameter_scores(
                    self.recipient, batch, self._objective(batch), self.parameters.parameter, names
                )
            for name, score in changes.items():
                totals[name] += score
        return {candidate: sum(totals.get(name, 0.0) for name in candidate.names) for candidate in candidates}

    def _rows(self, cells: Sequence[Cell]) -> Float[np.ndarray, "row prompt"]:
        values = run(
            self.recipient,
            self.donor,
            self.prompts,
            cells,
            metrics=[self.metric],
            batch_size=self.batch_size,
            progress=False,
        )
        return values[self.metric.name]

    def _swap(self, members: BlockSet) -> ParameterSwap:
        return ParameterSwap(self.parameters, tuple(name for member in members for name in member.names))

    def _learn(self, rows: Float[np.ndarray, "row prompt"]) -> None:
        """The weight of each prompt: one over the sum of the gaps, or over its own and their number."""
        if self._weights is not None:
            return
        gap = rows[DONOR] - rows[RECIPIENT]
        defined = np.isfinite(gap) & (gap != 0)
        total = float(gap[defined].sum())
        if not defined.any() or total == 0:
            raise DissectError(
                f"donor and recipient agree on {self.metric.name!r} for all prompts: there is nothing to recover"
            )
        single = 1 / np.where(defined, gap, np.nan) / defined.sum()
        self._weights = np.where(defined, 1 / total, np.nan) if self.pooled else single

    def _objective(self, batch: Batch) -> TotalObjective:
        assert self._weights is not None
        weights = torch.from_numpy(np.nan_to_num(self._weights[batch.place])).to(batch.tokens.device)
        reference = self.donor.logits(batch)

        def recovery(logits: Float[Tensor, "scored d_vocab"]) -> Float[Tensor, ""]:
            scored = Scored(logits, reference, batch.targets, batch.foils)
            values = self.metric.per_prompt(scored, batch.rows, len(batch.tokens))
            return (torch.where(values.isfinite(), values, 0.0) * weights).sum()

        return recovery

    def _batches(self) -> list[Batch]:
        foils = foil_targets(self.prompts) if self.metric.needs_foils else None
        if foils is not None:
            check_foils(foils, self.metric.name)
        device = self.recipient.embed.W_E.device
        return list(batches(self.prompts, self.batch_size, foils=foils, device=device))
