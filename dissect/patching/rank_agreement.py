"""Agreement of first-order estimates with exact patches, on a sample of the cells."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from dissect.data.prompts import Prompts
from dissect.jobs.journals import Journals
from dissect.patching.activation_swap import ActivationSwap
from dissect.patching.attribution_result import AttributionResult
from dissect.patching.first_order import Estimate
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell
from dissect.sweep.runner import FIRST_CELL, RECIPIENT, owners_of, run

_SELECTS = {"head": "heads", "neurons": "neurons", "position": "where"}
"""Dimension of a result to the argument of ``ActivationSwap`` that selects along it."""


def check_sample(
    result: AttributionResult,
    estimate: Estimate,
    prompts: Prompts,
    *,
    n: int,
    seed: int,
    batch_size: int,
    progress: bool,
    journals: Journals | None = None,
    first: int = 0,
) -> None:
    """Patch ``n`` cells of ``result`` exactly and note in its attributes how the estimates order them.

    Cells are drawn at random without replacement among those that have a value, fewer where there are fewer. Compared
    are changes of the metric, means over the prompts that have one. ``agreement`` is Spearman's rank correlation: 1
    where the order is the same, NaN where all are equal. With ``journals`` ranks share the cells, whose batches are
    counted from ``first`` there; of the tasks of a job array the one that has the estimates runs them all.
    """
    donor, name = Donor(estimate.donor), estimate.metric.name
    dims = result.values(name).dims
    estimates = (result.values(name) - result.data[f"{name}_recipient"]).transpose(*dims).mean("prompt")

    # Draw the cells, in the order of the grid.
    defined = np.argwhere(estimates.notnull().values)  # (cell, dimension)
    drawn = np.random.default_rng(seed).permutation(len(defined))[:n]
    cells, checked = [], []
    for index in defined[np.sort(drawn)]:
        at = {str(dim): estimates[dim].values[i].item() for dim, i in zip(estimates.dims, index, strict=True)}
        cells.append(_cell(donor, estimate, at))
        checked.append({**at, "estimate": float(estimates.values[tuple(index)])})

    # Run them, shared between ranks where there are several.
    section = None
    if journals is not None:
        task = journals.task
        count = task.count if task.together else 1
        owners = owners_of(estimate.recipient, prompts, cells, batch_size=batch_size, count=count)
        if not task.together:
            owners = [[task.number] * len(batch) for batch in owners]
        section = journals.section(owners, first)
    values = run(
        estimate.recipient,
        donor,
        prompts,
        cells,
        metrics=[estimate.metric],
        batch_size=batch_size,
        progress=progress,
        journal=section,
    )
    rows = values[name]  # (recipient, donor, cells; prompt)
    for row, exact in zip(checked, np.nanmean(rows[FIRST_CELL:] - rows[RECIPIENT], axis=1), strict=True):
        row["exact"] = float(exact)

    # Compare the two orders.
    orders = [[row[key] for row in checked] for key in ("estimate", "exact")]
    constant = any(len(set(order)) < 2 for order in orders)
    result.data.attrs |= {
        "agreement": float("nan") if constant else float(stats.spearmanr(*orders).statistic),
        "n_checked": len(checked),
        "checked": json.dumps(checked),
    }


def _cell(donor: Donor, estimate: Estimate, at: Mapping[str, Any]) -> Cell:
    coords = {dim: label for dim, label in at.items() if dim in _SELECTS}
    selected: dict[str, Any] = {
        _SELECTS[dim]: label if dim == "position" else (label,) for dim, label in coords.items()
    }
    layers = dict(estimate.windows)[at["layer"]]
    swap = ActivationSwap(donor, estimate.components[at["component"]], layers, **selected)
    return Cell(at["component"], at["layer"], layers, coords, intervention=swap)
