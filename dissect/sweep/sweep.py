"""From cells to a result: what activation and parameter sweeps have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.metrics import metric as metrics_by_name
from dissect.sweep.batch import scored_positions
from dissect.sweep.grid import Cell, check_unique
from dissect.sweep.result import SweepResult
from dissect.sweep.runner import run
from dissect.sweep.trace import Donor


def sweep(
    recipient: HookedTransformer,
    donor: Donor,
    prompts: Prompts,
    cells: Sequence[Cell],
    *,
    metrics: Sequence[str],
    scoring: str,
    batch_size: int,
    progress: bool,
    spec: Mapping[str, Any],
) -> SweepResult:
    """Run ``cells`` on the recipient and label what comes out.

    Raises:
        DissectError: a metric that does not exist, prompts that are too long, a batch size below one.
    """
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    check_unique(names, "metrics")
    chosen = [metrics_by_name.get(name) for name in names]
    longest = int(prompts.lengths.max())
    if longest > recipient.cfg.n_ctx:
        raise DissectError(f"a prompt of {longest} tokens is longer than the context of {recipient.cfg.n_ctx}")
    n_scored = scored_positions(prompts, scoring).sum(1).numpy()
    values = run(
        recipient, donor, prompts, cells, metrics=chosen, scoring=scoring, batch_size=batch_size, progress=progress
    )
    return SweepResult.assemble(cells, values, prompts, chosen, n_scored, {**spec, "scoring": scoring})
