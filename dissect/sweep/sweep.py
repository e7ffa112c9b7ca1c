"""From cells to a result: what activation and parameter sweeps have in common."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.metrics import metric as metrics_by_name
from dissect.metrics.metric import Metric
from dissect.sweep.assemble import assemble
from dissect.sweep.batch import scored_positions
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, check_unique
from dissect.sweep.journal import Journal
from dissect.sweep.result import SweepResult
from dissect.sweep.runner import run


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sweep is run and measured, whatever it swaps."""

    metrics: Sequence[str | Metric] = ("krs",)
    """Names of ``dissect.metrics``, or metrics of one's own."""
    scoring: str = "answer"
    """``answer`` or ``published``; see ``dissect.sweep.batch.SCORINGS``."""
    batch_size: int = 32
    """Prompts in one forward pass."""
    out: str | os.PathLike[str] | None = None
    """A netCDF file for the result. Finished cells stand in ``<out>.partial`` until it is written, and a sweep that was
    interrupted goes on with the rest when it is called again."""
    seed: int = 0
    """Of everything drawn at random, such as the controls; stored with the result."""
    progress: bool = True


def sweep(
    recipient: HookedTransformer,
    donor: Donor,
    prompts: Prompts,
    cells: Sequence[Cell],
    options: Options,
    *,
    spec: Mapping[str, Any],
) -> SweepResult:
    """Run ``cells`` on the recipient and label what comes out.

    Raises:
        DissectError: a metric that does not exist, prompts that are too long, a batch size below one, the journal of
            another sweep.
    """
    metrics = _metrics(options.metrics)
    if options.batch_size < 1:
        raise DissectError(f"batch_size={options.batch_size}: at least one prompt must be in a batch")
    longest = int(prompts.lengths.max())
    if longest > recipient.cfg.n_ctx:
        raise DissectError(f"a prompt of {longest} tokens is longer than the context of {recipient.cfg.n_ctx}")
    n_scored = scored_positions(prompts, options.scoring).sum(1).numpy()
    spec = {**spec, "scoring": options.scoring, "seed": options.seed}
    if options.out is None:
        values = run(recipient, donor, prompts, cells, metrics=metrics, journal=None, **_how(options))
        return assemble(cells, values, prompts, metrics, n_scored, spec)
    identity = _identity(recipient, prompts, cells, metrics, options, spec)
    with Journal(f"{os.fspath(options.out)}.partial", identity) as journal:
        values = run(recipient, donor, prompts, cells, metrics=metrics, journal=journal, **_how(options))
        result = assemble(cells, values, prompts, metrics, n_scored, spec)
        result.save(options.out)
        journal.finish()
    return result


def _how(options: Options) -> dict[str, Any]:
    return {"scoring": options.scoring, "batch_size": options.batch_size, "progress": options.progress}


def _metrics(asked: Sequence[str | Metric]) -> list[Metric]:
    several = (asked,) if isinstance(asked, (str, Metric)) else tuple(asked)
    found = [metrics_by_name.get(one) for one in several]
    check_unique([metric.name for metric in found], "metrics")
    return found


def _identity(
    recipient: HookedTransformer,
    prompts: Prompts,
    cells: Sequence[Cell],
    metrics: Sequence[Metric],
    options: Options,
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """What must be the same for the rows of an earlier run to be rows of this one, to the bit."""
    return {
        "spec": spec,
        "prompts": prompts.fingerprint(),
        "cells": [[cell.component, cell.layer, cell.members, sorted(cell.coords.items())] for cell in cells],
        "metrics": [metric.name for metric in metrics],
        "batch_size": options.batch_size,
        "dtype": str(recipient.cfg.dtype),
        "device": recipient.embed.W_E.device.type,
    }
