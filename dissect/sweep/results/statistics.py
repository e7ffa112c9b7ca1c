"""Means over prompts with bootstrap intervals."""

import numpy as np
import xarray as xr

from dissect.errors import DissectError
from dissect.statistics.bootstrap import bootstrap


def interval(values: xr.DataArray, *, level: float = 0.95, seed: int = 0) -> xr.Dataset:
    """Mean over prompts with a percentile bootstrap interval; NaN entries are left out and counted.

    Prompts are resampled, the same ones for every cell, so curves can be compared point by point.

    Returns:
        ``mean``, ``low``, ``high``, ``n`` and ``n_undefined`` over the remaining dimensions. Intervals are NaN where
        fewer than two values enter.
    """
    if not 0 < level < 1:
        raise DissectError(f"level={level}: the share of an interval lies between 0 and 1, for instance 0.95")
    rest = [name for name in values.dims if name != "prompt"]
    table = values.transpose(*rest, "prompt")
    flat = table.values.reshape(-1, values.sizes["prompt"])
    low, high = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    for index, row in enumerate(flat):
        defined = row[np.isfinite(row)]
        if len(defined) > 1:
            low[index], high[index] = bootstrap([defined], level=level, seed=seed)
    shape = table.shape[:-1]
    counted = np.isfinite(table).sum("prompt")
    return xr.Dataset(
        {
            "mean": table.where(np.isfinite(table)).mean("prompt"),
            "low": (rest, low.reshape(shape)),
            "high": (rest, high.reshape(shape)),
            "n": counted,
            "n_undefined": values.sizes["prompt"] - counted,
        }
    )
