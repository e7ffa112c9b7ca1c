"""Recovery over layers, one curve a component: the figure of Hong et al. (EMNLP 2024)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dissect.errors import DissectError
from dissect.plots import labels, style
from dissect.plots.curve import Curve, arrows, curve_of, looks_of, traces
from dissect.plots.select_cells import selected
from dissect.sweep.results.sweep_result import SweepResult

_LOWEST, _HIGHEST = -1.0, 1.5
"""Furthest reach of the axis: one ruined prompt can bring a mean to -50 and would flatten all curves."""


def curves(
    result: SweepResult,
    metric: str = "krs",
    *,
    x: str = "layer",
    level: float = 0.95,
    pooled: bool = False,
    seed: int = 0,
    y_range: tuple[float, float] | None = None,
    title: str | None = None,
    **select: Any,
) -> go.Figure:
    """Recovery over centre layers, a line with markers for each component and a bootstrap band over prompts.

    1 (the upper grey line) is the donor's behaviour, 0 the recipient's own, below 0 further away from the donor than
    without the swap. Open markers: the window is cut off by the first or the last layer, so fewer layers were swapped.

    Args:
        result: what ``patch``, ``restore`` or ``concat`` return.
        metric: one that the sweep measured.
        x: another dimension of the sweep in place of the layers, such as ``t`` or ``rank``.
        level: of the bootstrap interval over prompts.
        pooled: draw the ratio of sums over prompts in place of the mean of their ratios; it has no band.
        seed: of the bootstrap.
        y_range: ends of the vertical axis. By default it holds all curves but reaches no further than -1 and 1.5;
            values outside are drawn as arrows at the edge and counted in the note.
        title: in place of the one that tells what was swapped into what.
        select: coordinates to keep, one or several of a dimension: ``component="mlp.W_out"``, ``layer=3``.

    Raises:
        DissectError: the sweep did not measure the metric, runs over more than components and ``x``, or no prompt had
            anything to recover.
    """
    result = _chosen(result, metric, x, select)
    table = result.ci(metric, level=level, seed=seed)
    table = table.squeeze([dim for dim in table["mean"].dims if dim not in ("component", x)])
    names = [str(name) for name in table["component"].values]
    looks = looks_of(names)
    drawn = [
        curve
        for name in names
        if len((curve := curve_of(result, table.sel(component=name), name, looks[name], x, level, pooled)).places)
    ]
    if not drawn:
        raise DissectError(
            f"nothing to draw: the recovery of {metric!r} is undefined for every prompt, because donor and recipient "
            "agree on it: are they two different checkpoints?"
        )
    bottom, top = _limits(drawn) if y_range is None else y_range
    if not bottom < top:
        raise DissectError(f"y_range=({bottom}, {top}): the first end must be below the second")
    figure = go.Figure()
    for curve in drawn:
        figure.add_traces(traces(curve, pooled))
    for curve in drawn:
        figure.add_traces(arrows(curve, bottom, top))
    spec, n_prompts = result.spec, result.data.sizes["prompt"]
    style.headed(figure, title or labels.swap(spec), labels.setting(spec, n_prompts))
    _axes(figure, result, metric, pooled, (bottom, top), table[x])
    return style.captioned(figure, _note(table, drawn, (bottom, top), level, pooled), below=58)


def _chosen(result: SweepResult, metric: str, x: str, select: Mapping[str, Any]) -> SweepResult:
    """Return the selected part of a sweep, if it runs over nothing but components, ``x`` and prompts."""
    values = result.values(metric)
    dims = [str(dim) for dim in values.dims if dim not in ("component", "prompt")]
    if x not in dims:
        raise DissectError(f"the sweep has no dimension {x!r} for an axis: it runs over {', '.join(dims)}")
    kept = selected(values, select)
    further = [dim for dim in dims if dim != x and kept.sizes[dim] > 1]
    if further:
        raise DissectError(
            f"curves run over {x}, this sweep also runs over {', '.join(further)}: choose one by {further[0]}=... "
            f'(--at {further[0]}=...), or draw both: plots.heatmap(result, x="{further[0]}", y="{x}") '
            f"(--kind heatmap --x {further[0]} --y {x})"
        )
    return SweepResult(result.data.sel({dim: kept[dim].values for dim in select}))


def _limits(drawn: list[Curve]) -> tuple[float, float]:
    """Ends of the vertical axis that show both models' lines and the curves with their bands."""
    seen = np.concatenate([part for curve in drawn for part in (curve.value, curve.low, curve.high)])
    seen = seen[np.isfinite(seen)]
    return max(_LOWEST, min(-0.1, float(seen.min()) - 0.05)), min(_HIGHEST, max(1.1, float(seen.max()) + 0.05))


def _note(table: xr.Dataset, drawn: list[Curve], limits: tuple[float, float], level: float, pooled: bool) -> str:
    """Return words for what the figure shows, and what of it is not seen."""
    run = table["n"] > 0  # joined sweeps may lack some layers; those are not prompts without anything to recover
    n, undefined = int(table["n"].max()), int(table["n_undefined"].where(run, 0).max())
    over = labels.counted(n, "prompt")
    interval = f" with a {level:.0%} bootstrap interval" if n > 1 else ""
    sentences = [f"Ratio of sums over {over}." if pooled else f"Mean over {over}{interval}."]
    if any(curve.cut.any() for curve in drawn):
        sentences.append("Open markers: the window is cut off by the first or the last layer.")
    if undefined:
        sentences.append(f"{labels.counted(undefined, 'prompt')} with nothing to recover left out.")
    seen = np.concatenate([curve.value for curve in drawn])
    below, above = seen[seen < limits[0]], seen[seen > limits[1]]
    if len(below):
        sentences.append(f"{labels.counted(len(below), 'point')} below the axis (lowest {labels.number(below.min())}).")
    if len(above):
        sentences.append(
            f"{labels.counted(len(above), 'point')} above the axis (highest {labels.number(above.max())})."
        )
    return labels.wrapped(sentences)


def _axes(
    figure: go.Figure,
    result: SweepResult,
    metric: str,
    pooled: bool,
    limits: tuple[float, float],
    along: xr.DataArray,
) -> None:
    """Ranges, ticks, legend, and the lines of the two models."""
    places = along.values
    if along.name != "layer":
        figure.update_xaxes(title_text=labels.axis(str(along.name)))
        if not np.issubdtype(places.dtype, np.number):
            figure.update_xaxes(type="category", range=[-0.5, len(places) - 0.5])
    elif np.issubdtype(places.dtype, np.number):
        span = int(places.max() - places.min())
        figure.update_xaxes(
            title_text=labels.axis("layer", result.spec.get("window", 1)),
            range=[float(places.min()) - 0.5, float(places.max()) + 0.5],
            tick0=0,
            dtick=next(step for step in (1, 2, 4, 8, 16, 32) if span / step <= 20 or step == 32),
        )
    else:  # sets of layers by name
        figure.update_xaxes(title_text="layers", type="category", range=[-0.5, len(places) - 0.5])
    figure.update_yaxes(title_text=labels.recovery(metric, result.metrics[metric], pooled=pooled), range=list(limits))
    for height, role in ((0, "recipient"), (1, "donor")):
        if limits[0] <= height <= limits[1]:
            figure.add_hline(y=height, line={"color": style.MUTED, "width": 1.2}, layer="below")
            figure.add_annotation(
                text=f"{role}<br>({result.spec.get(role)})",
                x=1,
                xref="paper",
                xanchor="left",
                xshift=6,
                y=height,
                align="left",
                showarrow=False,
                font={"size": 11.5, "color": style.MUTED},
            )
    left, right = 70, 90
    names = [str(trace.name) for trace in figure.data if trace.showlegend is not False]
    top = 71 + style.legend_height(names, beside=left + right)
    figure.update_layout(
        height=style.HEIGHT + top - 100,
        margin={"l": left, "r": right, "t": top},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
        hovermode="closest",
    )
