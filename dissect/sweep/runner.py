"""Running the cells of a sweep: each resumed at the first layer that it touches."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.metrics.metric import Metric, Scored
from dissect.models.forward import final_residual, logits_at
from dissect.models.parameters import EMBEDDING
from dissect.sweep.batch import NO_TARGET, Batch, batches
from dissect.sweep.grid import Cell
from dissect.sweep.trace import Donor, Trace, trace

log = logging.getLogger(__name__)

Values = dict[str, Float[np.ndarray, "cell prompt"]]
"""By metric name. The rows are the recipient as it is, the donor as it is, then the cells in their order."""
RECIPIENT, DONOR, FIRST_CELL = 0, 1, 2


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
    progress: bool = True,
) -> Values:
    """Measure the recipient under the intervention of every cell, and both models as they are.

    The recipient runs once a batch, keeping its residual stream before every layer at which some cell begins; a
    cell's forward pass starts there. This is exact: what comes before is the same computation. Batches are the outer
    loop, so memory does not grow with the number of prompts.
    """
    if batch_size < 1:
        raise DissectError(f"batch_size={batch_size}: at least one prompt must be in a batch")
    device = recipient.embed.W_E.device
    starts = sorted({cell.intervention.first_layer for cell in cells})
    values = {metric.name: np.full((FIRST_CELL + len(cells), len(prompts)), np.nan) for metric in metrics}
    n_batches = -(-len(prompts) // batch_size)
    with tqdm(total=n_batches * len(cells), desc="sweep", unit="cell", disable=not progress) as bar:
        for batch in batches(prompts, batch_size, scoring=scoring, device=device):
            _check_targets(batch, metrics, scoring)
            reference = donor.trace(batch).logits.to(device)
            resumable = _resumable(recipient, batch, starts)
            rows = [resumable.logits, reference]
            for index, logits in enumerate(rows):
                _record(values, metrics, index, logits, reference, batch)
            for index, cell in enumerate(cells, start=FIRST_CELL):
                logits = _run_cell(recipient, batch, cell, resumable)
                _record(values, metrics, index, logits, reference, batch)
                bar.update()
    return values


def _resumable(model: HookedTransformer, batch: Batch, starts: Sequence[int]) -> Trace:
    names = [_resid_pre(layer) for layer in starts if EMBEDDING < layer < model.cfg.n_layers]
    return trace(model, batch, names)


def _run_cell(model: HookedTransformer, batch: Batch, cell: Cell, resumable: Trace) -> Float[Tensor, "scored d_vocab"]:
    start = cell.intervention.first_layer
    with cell.intervention.applied(model, batch):
        if start == EMBEDDING:
            final = final_residual(model, batch.tokens)
        elif start == model.cfg.n_layers:
            final = resumable.final
        else:
            final = final_residual(model, resumable.activations[_resid_pre(start)], start_at_layer=start)
        return logits_at(model, final, batch.scored)


def _record(
    values: Values,
    metrics: Sequence[Metric],
    index: int,
    logits: Float[Tensor, "scored d_vocab"],
    reference: Float[Tensor, "scored d_vocab"],
    batch: Batch,
) -> None:
    scored = Scored(logits=logits, reference=reference, targets=batch.targets)
    for metric in metrics:
        per_prompt = metric.per_prompt(scored, batch.rows, len(batch.tokens))
        values[metric.name][index, batch.prompts] = per_prompt.cpu().numpy()


def _check_targets(batch: Batch, metrics: Sequence[Metric], scoring: str) -> None:
    needy = [metric.name for metric in metrics if metric.needs_targets]
    if needy and bool((batch.targets == NO_TARGET).any()):
        raise DissectError(
            f"metric {needy[0]!r} reads the answer's tokens, but scoring={scoring!r} scores a position after the last "
            "one: use scoring='answer'"
        )


def _resid_pre(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"
