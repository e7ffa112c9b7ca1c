"""What a sweep says, in a few lines of text."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from dissect.sweep.result import SweepResult


def peaks(result: SweepResult, *, seed: int = 0) -> str:
    """Where the mean recovery of each component is highest, for each metric."""
    blocks = []
    for metric in result.metrics:
        table = result.ci(metric, seed=seed)
        rows = [(f"recovery of {metric}", "highest mean", "95 % interval", "at")]
        rows += [_peak(table.sel(component=name), str(name)) for name in table["component"].values]
        blocks.append(columns(rows))
        recovery = result.recovery(metric)
        undefined = int(recovery.isnull().all([dim for dim in recovery.dims if dim != "prompt"]).sum())
        if undefined:
            blocks.append(f"{undefined} of {recovery.sizes['prompt']} prompts had nothing to recover and are left out")
    return "\n\n".join(blocks)


def _peak(table: xr.Dataset, component: str) -> tuple[str, str, str, str]:
    """The row of a component."""
    dims = [str(dim) for dim in table["mean"].dims]
    cells = table.stack(cell=dims)
    if not bool(cells["mean"].notnull().any()):
        return component, "nothing to recover", "", ""
    best = cells.isel(cell=int(np.nanargmax(cells["mean"].values)))
    interval = f"{float(best['low']):.3f} to {float(best['high']):.3f}" if bool(best["low"].notnull()) else "-"
    return component, f"{float(best['mean']):.3f}", interval, ", ".join(f"{dim} {best[dim].item()}" for dim in dims)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
