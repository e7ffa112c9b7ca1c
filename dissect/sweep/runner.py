"""Running the cells of a sweep: each resumed at the first layer that it touches."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.foils import check_foils, foil_targets
from dissect.data.prompts import Prompts
from dissect.metrics.metric import Metric
from dissect.models.forward import embed
from dissect.models.parameters import EMBEDDING
from dissect.models.partial import Pass, Products, run_passes
from dissect.sweep.batch import Batch, batches
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell
from dissect.sweep.intervention import Intervention
from dissect.sweep.journal import Journal
from dissect.sweep.quadratic import Gram
from dissect.sweep.readout import Readout, Row, check_targets
from dissect.sweep.trace import Trace, trace

Values = dict[str, Float[np.ndarray, "cell prompt"]]
"""By metric name. The rows are the recipient as it is, the donor as it is, then the cells in their order."""
RECIPIENT, DONOR, FIRST_CELL = 0, 1, 2
Numbered = tuple[int, Cell]
"""A cell with the number of its row."""


@torch.no_grad()
def run(
    recipient: HookedTransformer,
    donor: Donor,
    prompts: Prompts,
    cells: Sequence[Cell],
    *,
    metrics: Sequence[Metric],
    scoring: str = "answer",
    batch_size: int = 32,
    cells_per_pass: int = 1,
    journal: Journal | None = None,
    progress: bool = True,
) -> Values:
    """Measure the recipient under the intervention of every cell, and both models as they are.

    The recipient runs once a batch, keeping its residual stream before every layer at which some cell begins; a
    cell's forward pass starts there. This is exact: what comes before is the same computation. Batches are the outer
    loop, so memory does not grow with the number of prompts. Cells that ``journal`` holds are not run again. Up to
    ``cells_per_pass`` cells run as rows of one batch, which agrees with running them alone up to rounding.
    """
    foils = _foils(prompts, metrics)
    sweep = _Run(recipient, donor, cells, metrics, scoring, cells_per_pass)
    values = {metric.name: np.full((FIRST_CELL + len(cells), len(prompts)), np.nan) for metric in metrics}
    n_batches = -(-len(prompts) // batch_size)
    with tqdm(total=n_batches * len(cells), desc="sweep", unit="cell", disable=not progress) as bar:
        for batch in batches(prompts, batch_size, scoring=scoring, foils=foils, device=recipient.embed.W_E.device):
            done = journal.rows(batch.index) if journal is not None else {}
            for index, row in done.items():
                _put(values, index, batch, row)
            bar.update(sum(index >= FIRST_CELL for index in done))
            if len(done) == FIRST_CELL + len(cells):
                continue
            for index, row in sweep.rows(batch, skip=done):
                _put(values, index, batch, row)
                if journal is not None:
                    journal.write(batch.index, index, row)
                bar.update(index >= FIRST_CELL)
    return values


class _Run:
    """What stays the same over the batches of a sweep."""

    def __init__(
        self,
        recipient: HookedTransformer,
        donor: Donor,
        cells: Sequence[Cell],
        metrics: Sequence[Metric],
        scoring: str,
        cells_per_pass: int,
    ) -> None:
        self.cells_per_pass = cells_per_pass
        self.recipient, self.donor, self.cells, self.metrics, self.scoring = recipient, donor, cells, metrics, scoring
        interventions = [cell.intervention for cell in cells]
        self.fused = donor.fused_attention
        n_layers = recipient.cfg.n_layers
        starts = {intervention.first_layer for intervention in interventions}
        self.kept = {_resid_pre(layer) for layer in starts if EMBEDDING < layer < n_layers}
        self.kept.update(name for intervention in interventions for name in intervention.kept)
        self.gram = Gram(recipient) if Gram.serves(recipient, metrics) else None

    def rows(self, batch: Batch, *, skip: Iterable[int]) -> Iterable[tuple[int, Row]]:
        """Number and values of each row for the prompts of ``batch``, but for the rows ``skip``."""
        check_targets(self.metrics, batch, self.scoring)
        self.donor.turn_to(batch)
        readout = Readout(self.recipient, self.metrics, batch, self.donor, self.gram)
        own = trace(self.recipient, batch, sorted(self.kept), fused_attention=self.fused)
        if RECIPIENT not in skip:
            yield RECIPIENT, readout.rows([own.final])[0]
        if DONOR not in skip:
            yield DONOR, readout.donor()
        products: Products = {}
        numbered = [(index, cell) for index, cell in enumerate(self.cells, start=FIRST_CELL) if index not in skip]
        for _, cell in numbered:
            cell.intervention.prepare(batch)
        for group in self._groups(numbered, batch):
            measured = self._measured(batch, [cell.intervention for _, cell in group], own, products, readout)
            for (index, cell), row in zip(group, measured, strict=True):
                defined = cell.intervention.defined(batch)
                if defined is not None:
                    for values in row.values():
                        values[~defined.cpu().numpy()] = np.nan
                yield index, row

    def _groups(self, cells: Sequence[Numbered], batch: Batch) -> Iterator[list[Numbered]]:
        """Cells that run as rows of one batch: those that are whole replacements of activations, next to each other."""
        group: list[Numbered] = []
        for numbered in cells:
            alone = not _stackable(numbered[1].intervention, batch)
            if group and (alone or len(group) == self.cells_per_pass):
                yield group
                group = []
            group.append(numbered)
            if alone:
                yield group
                group = []
        if group:
            yield group

    def _measured(
        self,
        batch: Batch,
        interventions: Sequence[Intervention],
        own: Trace,
        products: Products,
        readout: Readout,
    ) -> list[Row]:
        """The metrics under each intervention; several are those of a group."""
        model = self.recipient
        with ExitStack() as stack:
            for intervention in interventions:
                stack.enter_context(intervention.applied(model, batch))
            if interventions[0].first_layer == model.cfg.n_layers:
                return readout.rows([own.final])
            passes = [self._pass(batch, intervention, own) for intervention in interventions]
            shared = None if interventions[0].changes_weights else products
            return readout.rows(run_passes(model, passes, products=shared, fused_attention=self.fused))

    def _pass(self, batch: Batch, intervention: Intervention, own: Trace) -> Pass:
        start = intervention.first_layer
        residual = embed(self.recipient, batch.tokens) if start == EMBEDDING else own.activations[_resid_pre(start)]
        given = {name: own.activations[name] for name in intervention.kept} | intervention.given(batch)
        return Pass(residual, max(start, 0), given)


def _stackable(intervention: Intervention, batch: Batch) -> bool:
    """Whether it can share a pass with others: no hooks, no weights, nothing but given activations."""
    return not intervention.changes_weights and bool(intervention.given(batch))


def _foils(prompts: Prompts, metrics: Sequence[Metric]) -> Int[Tensor, "prompt pos"] | None:
    needy = [metric.name for metric in metrics if metric.needs_foils]
    if not needy:
        return None
    found = foil_targets(prompts)
    check_foils(found, needy[0])
    return found


def _put(values: Values, index: int, batch: Batch, row: Row) -> None:
    for name, numbers in row.items():
        values[name][index, batch.place] = numbers


def _resid_pre(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"
