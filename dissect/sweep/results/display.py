"""HTML of a sweep in a notebook."""

from collections.abc import Mapping
from html import escape
from typing import Any

import xarray as xr

from dissect.sweep.results.peaks import Peak, peaks


def html(
    data: xr.Dataset,
    spec: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, xr.Dataset],
) -> str:
    """A table with one row a component: where its recovery peaks, and what it is over all cells.

    ``tables`` holds what `SweepResult.ci` gives for each metric.
    """
    blocks = []
    for metric, about in metrics.items():
        rows = "".join(_row(peak) for peak in peaks(tables[metric]))
        unit = f" ({about['unit']})" if about["unit"] else ""
        blocks.append(
            f"<p><b>recovery of {escape(metric)}</b>: {escape(about['label'])}{escape(unit)}</p>"
            "<table><tr><th>component</th><th>highest mean</th><th>95%</th><th>at</th>"
            f"<th>mean over cells</th></tr>{rows}</table>"
        )
    scope = spec.get("scope", "windows")
    width = f"window {spec.get('window')}" if spec.get("window") is not None else "sets of layers"
    made = (
        f"{spec.get('donor')} into {spec.get('recipient')}, {width if scope == 'windows' else scope}, "
        f"{data.sizes['prompt']} prompts, {data.sizes['layer']} layers"
    )
    return f"<div><p><b>SweepResult</b>: {escape(made)}</p>{''.join(blocks)}</div>"


def _row(peak: Peak) -> str:
    if not peak.defined:
        return f"<tr><td>{escape(peak.component)}</td><td colspan=4>nothing to recover</td></tr>"
    cells = (peak.component, f"{peak.mean:.3f}", peak.interval, peak.place, f"{peak.overall:.3f}")
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
