"""Comparison of two sweeps cell by cell, on the same prompts."""

import numpy as np
import xarray as xr

from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.sweep.results import statistics
from dissect.sweep.results.sweep_result import SweepResult


@keywords()
def compare(
    first: SweepResult, second: SweepResult, metric: str = "krs", *, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Recovery in ``first`` minus recovery in ``second``, cell by cell, paired by prompt.

    For instance two unlearning methods, two windows, or a sweep before and after an attack. Positive: more comes back
    in ``first``. Only the cells that both have are compared.

    Returns:
        ``mean``, ``low`` and ``high`` of the difference (percentile bootstrap over prompts), ``n`` and
        ``n_undefined``, over (component, layer, ...).

    Raises:
        DissectError: other prompts, a metric that one of them did not measure, or no cell in common.

    Example:
        >>> base = dissect.load("runs/demo/base")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(base)
        >>> npo, ga = (
        ...     dissect.patch(dissect.load_pair(base, f"runs/demo/{method}"), prompts[:4], ["mlp_post"])
        ...     for method in ("npo", "ga")
        ... )
        >>> sorted(dissect.compare(npo, ga))
        ['high', 'low', 'mean', 'n', 'n_undefined']
    """
    if first.data.attrs["prompts"] != second.data.attrs["prompts"]:
        raise DissectError("these sweeps are of different prompts: only the same ones can be compared in pairs")
    ours, theirs = first.recovery(metric), second.recovery(metric)
    if set(ours.dims) != set(theirs.dims):
        raise DissectError(
            f"one sweep goes over {', '.join(map(str, ours.dims))}, the other over "
            f"{', '.join(map(str, theirs.dims))}: they have no cell in common"
        )
    ours, theirs = xr.align(ours, theirs, join="inner")
    if 0 in ours.shape:
        axes = [dim for dim in ours.dims if ours.sizes[dim] == 0]
        raise DissectError(f"the sweeps have no {axes[0]} in common")
    difference = (ours - theirs).where(np.isfinite(ours) & np.isfinite(theirs))
    table = statistics.interval(difference, level=level, seed=seed)
    return table.assign_attrs(metric=metric, level=level, seed=seed)
