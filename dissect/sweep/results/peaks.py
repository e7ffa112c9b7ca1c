"""The highest recovery of each component: a sweep in one line a component."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Peak:
    """The cell of a component with the highest mean recovery."""

    component: str
    mean: float
    """NaN where there was nothing to recover."""
    low: float
    """Lower end of the interval; NaN where it has none."""
    high: float
    at: Mapping[str, Any]
    """Coordinates of the cell: its layer, and position, head or neurons where the sweep went over them."""
    overall: float
    """Mean over all cells of the component."""

    @property
    def defined(self) -> bool:
        """True if there was anything to recover."""
        return not np.isnan(self.mean)

    @property
    def interval(self) -> str:
        """``0.12 to 0.34``, or ``-``."""
        return "-" if np.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    @property
    def place(self) -> str:
        """``layer 3, head 2``."""
        return ", ".join(f"{dim} {value}" for dim, value in self.at.items())


def peaks(table: xr.Dataset) -> list[Peak]:
    """The peak of each component of what `SweepResult.ci` gives, in their order."""
    return [_peak(table.sel(component=name), str(name)) for name in table["component"].values]


def _peak(table: xr.Dataset, component: str) -> Peak:
    dims = [str(dim) for dim in table["mean"].dims]
    cells = table.stack(cell=dims)
    means = cells["mean"].values
    if not np.isfinite(means).any():
        return Peak(component, np.nan, np.nan, np.nan, {}, np.nan)
    best = cells.isel(cell=int(np.nanargmax(means)))
    return Peak(
        component=component,
        mean=float(best["mean"]),
        low=float(best["low"]),
        high=float(best["high"]),
        at={dim: best[dim].item() for dim in dims},
        overall=float(np.nanmean(means)),
    )
