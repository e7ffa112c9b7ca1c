"""Running the cells of a sweep: each resumed at the first layer that it touches."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.foils import check_foils, foil_targets
from dissect.data.prompts import Prompts
from dissect.jobs.journals import JournalSection, Owners
from dissect.jobs.task import deal
from dissect.metrics.metric import Metric
from dissect.models.block_names import EMBEDDING
from dissect.models.running.forward import embed
from dissect.models.running.partial import Pass, Products, run_passes
from dissect.sweep.batch import Batch, batches
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell
from dissect.sweep.intervention import Intervention
from dissect.sweep.quadratic import Gram
from dissect.sweep.readout import CellRow, Readout, check_targets
from dissect.sweep.trace import Trace, trace
from dissect.undoing.change import together
from dissect.undoing.gradient_mode import without_gradients

Values = dict[str, Float[np.ndarray, "cell prompt"]]
"""Metric name to values. The rows are the recipient as it is, the donor as it is, then the cells in their order."""
RECIPIENT, DONOR, FIRST_CELL = 0, 1, 2
Numbered = tuple[int, Cell]
"""A cell with the number of its row."""


@without_gradients()
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
    journal: JournalSection | None = None,
    progress: bool = True,
) -> Values:
    """Measure the recipient under the intervention of every cell, and both models as they are.

    The recipient runs once a batch, keeping its residual stream before every layer at which some cell begins; a
    cell's forward pass starts there. This is exact: what comes before is the same computation. Batches are the outer
    loop, so memory does not grow with the number of prompts. Up to ``cells_per_pass`` cells run as rows of one batch,
    which agrees with running them alone up to rounding; which ones run together does not depend on which are left.

    Cells that ``journal`` holds are not run again, and where it says that several processes share the sweep, this one
    runs those that are its own and then has the others' from it.
    """
    # One row a cell, after those of the two models as they are; (row, prompt) for each metric.
    foils = _foils(prompts, metrics)
    sweep = _Run(recipient, donor, cells, metrics, scoring, cells_per_pass)
    values = {metric.name: np.full((FIRST_CELL + len(cells), len(prompts)), np.nan) for metric in metrics}

    # Which rows of which batch are this process's own.
    n_batches = -(-len(prompts) // batch_size)
    everything = set(range(FIRST_CELL + len(cells)))
    mine = [everything if journal is None else journal.mine(batch) for batch in range(n_batches)]
    total = sum(index >= FIRST_CELL for rows in mine for index in rows)

    # Batch by batch: what the journal holds is done, the rest is run and written down as it comes.
    with tqdm(total=total, desc="sweep", unit="cell", disable=not progress) as bar:
        for batch in batches(prompts, batch_size, scoring=scoring, foils=foils, device=recipient.embed.W_E.device):
            done = set() if journal is None else mine[batch.index].intersection(journal.rows(batch.index))
            bar.update(sum(index >= FIRST_CELL for index in done))
            wanted = mine[batch.index] - done
            for index, row in sweep.rows(batch, wanted) if wanted else ():
                _put(values, index, batch.place, row)
                if journal is not None:
                    journal.write(batch.index, index, row)
                bar.update(index >= FIRST_CELL)

    # With a journal all rows are there now, those of an earlier run and of other processes as well.
    if journal is not None:
        journal.gather()
        for number in range(n_batches):
            batch_rows = slice(number * batch_size, (number + 1) * batch_size)
            for index, row in journal.rows(number).items():
                _put(values, index, batch_rows, row)
    return values


def owners_of(
    recipient: HookedTransformer,
    prompts: Prompts,
    cells: Sequence[Cell],
    *,
    batch_size: int,
    cells_per_pass: int = 1,
    count: int,
) -> Owners:
    """Return, for each batch, the process that owns each row; cells that share a pass have one owner.

    All of the ``count`` owners get about as much to do.
    """
    # A cell costs the layers above the one that it resumes at, and its readout; a block of cells is dealt out whole.
    n_layers = recipient.cfg.n_layers
    costs = [1.0 + n_layers - max(cell.intervention.first_layer, 0) for cell in cells]
    blocks = _blocks(len(cells), cells_per_pass)
    units = [sum(costs[number] for number in block) for block in blocks]

    # A batch costs in proportion to its tokens, the padding included.
    sizes = [int(prompts[start : start + batch_size].tokens.numel()) for start in range(0, len(prompts), batch_size)]
    owners = []
    for block_owners in deal(sizes, units, count):
        of_cells = [owner for owner, block in zip(block_owners, blocks, strict=True) for _ in block]
        owners.append([*[(of_cells or [0])[0]] * FIRST_CELL, *of_cells])  # both ends go with the first cell
    return owners


def _blocks(n_cells: int, cells_per_pass: int) -> list[range]:
    """Return the numbers of the cells that may share a pass."""
    return [range(start, min(start + cells_per_pass, n_cells)) for start in range(0, n_cells, cells_per_pass)]


class _Run:
    """Everything that stays the same over the batches of a sweep."""

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
        self.fused = donor.fused_attention
        interventions = [cell.intervention for cell in cells]

        # Hooks of the recipient's own pass that are kept: where cells resume, and what they leave as it was.
        n_layers = recipient.cfg.n_layers
        starts = {intervention.first_layer for intervention in interventions}
        self.kept = {_resid_pre(layer) for layer in starts if EMBEDDING < layer < n_layers}
        self.kept.update(name for intervention in interventions for name in intervention.kept)

        # Where only squared distances are asked for, the logits are not needed at all.
        self.gram = Gram(recipient) if Gram.serves(recipient, metrics) else None

    def rows(self, batch: Batch, wanted: Collection[int]) -> Iterable[tuple[int, CellRow]]:
        """Yield number and values of the rows ``wanted`` for the prompts of ``batch``."""
        # Both models as they are. The recipient's pass keeps what every cell resumes from.
        check_targets(self.metrics, batch, self.scoring)
        self.donor.turn_to(batch)
        readout = Readout(self.recipient, self.metrics, batch, self.donor, self.gram)
        own = trace(self.recipient, batch, sorted(self.kept), fused_attention=self.fused)
        if RECIPIENT in wanted:
            yield RECIPIENT, readout.rows([own.final])[0]
        if DONOR in wanted:
            yield DONOR, readout.donor()

        # Blocks of cells that may share a pass are fixed by the number of each cell, whatever is left to run: a resumed
        # sweep gives the same bits. Further donors run before any hook is set, because one may be the recipient itself.
        numbered = list(enumerate(self.cells, start=FIRST_CELL))
        blocks = [numbered[block.start : block.stop] for block in _blocks(len(numbered), self.cells_per_pass)]
        blocks = [block for block in blocks if any(index in wanted for index, _ in block)]
        for block in blocks:
            for _, cell in block:
                cell.intervention.prepare(batch)

        # Group by group: measure, strike out the prompts for which the intervention means nothing, give the rows out.
        products: Products = {}
        for group in (group for block in blocks for group in self._groups(block, batch)):
            if not any(index in wanted for index, _ in group):
                continue
            measured = self._measured(batch, [cell.intervention for _, cell in group], own, products, readout)
            for (index, cell), row in zip(group, measured, strict=True):
                defined = cell.intervention.defined(batch)
                if defined is not None:
                    for values in row.values():
                        values[~defined.cpu().numpy()] = np.nan
                if index in wanted:
                    yield index, row

    def _groups(self, block: Sequence[Numbered], batch: Batch) -> Iterator[list[Numbered]]:
        """Yield cells that run as rows of one batch: whole replacements of activations; all others run alone."""
        together = []
        for numbered in block:
            if _stackable(numbered[1].intervention, batch):
                together.append(numbered)
            else:
                yield [numbered]
        if together:
            yield together

    def _measured(
        self,
        batch: Batch,
        interventions: Sequence[Intervention],
        own: Trace,
        products: Products,
        readout: Readout,
    ) -> list[CellRow]:
        """Return the metrics under each intervention; several are those of a group."""
        model = self.recipient
        with together(intervention.applied(model, batch) for intervention in interventions):
            if interventions[0].first_layer == model.cfg.n_layers:  # only the final norm or the unembedding changes
                return readout.rows([own.final])

            # MLP outputs are shared between cells as long as the weights are the recipient's own.
            passes = [self._pass(batch, intervention, own) for intervention in interventions]
            shared = None if interventions[0].changes_weights else products
            return readout.rows(run_passes(model, passes, products=shared, fused_attention=self.fused))

    def _pass(self, batch: Batch, intervention: Intervention, own: Trace) -> Pass:
        # Resume before the first layer touched, and give what the intervention leaves alone there beside what it gives.
        start = intervention.first_layer
        residual = embed(self.recipient, batch.tokens) if start == EMBEDDING else own.activations[_resid_pre(start)]
        activations = {name: own.activations[name] for name in intervention.kept}  # (b, pos, ...)
        activations |= intervention.given(batch)
        return Pass(residual, max(start, 0), activations)


def _stackable(intervention: Intervention, batch: Batch) -> bool:
    """Say whether it can share a pass with others: no hooks, no weights, nothing but given activations."""
    return not intervention.changes_weights and bool(intervention.given(batch))


def _foils(prompts: Prompts, metrics: Sequence[Metric]) -> Int[Tensor, "prompt pos"] | None:
    needy = [metric.name for metric in metrics if metric.needs_foils]
    if not needy:
        return None
    foils = foil_targets(prompts)  # (prompt, pos)
    check_foils(foils, needy[0])
    return foils


def _put(values: Values, index: int, batch_rows: slice, row: CellRow) -> None:
    for name, numbers in row.items():
        values[name][index, batch_rows] = numbers


def _resid_pre(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"
