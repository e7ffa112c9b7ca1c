"""Two dimensions of a result as colours."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from dissect.errors import DissectError
from dissect.plots import labels, style
from dissect.plots.colour_scale import Scale, drift_scale, recovery_scale
from dissect.plots.select_cells import selected
from dissect.plots.ticks import PANELS, ticks
from dissect.sweep.results.sweep_result import SweepResult

_UPWARDS = ("layer",)
"""Vertical dimensions that run upwards; others are read like text."""
_TEXT_COLUMNS, _TEXT_ROWS = 16, 24
"""Up to so many cells their numbers are written into them."""
_NAMED_ROWS = 60
"""Up to so many rows each is named."""
_BETWEEN = 50
"""Pixels between rows of panels."""


@dataclass(frozen=True)
class _Grid:
    """The values that a heatmap shows."""

    mean: xr.DataArray
    """Over (panel, y, x)."""
    count: xr.DataArray
    """Number of values that entered, over the same axes."""
    averaged: str
    """Dimensions that the mean was taken over; empty for none."""
    data: xr.Dataset
    """Result in which coordinates and members are looked up."""


def heatmap(
    result: SweepResult | xr.Dataset | Any,
    metric: str | None = None,
    *,
    x: str = "layer",
    y: str | None = None,
    limit: float | None = None,
    title: str | None = None,
    **select: Any,
) -> go.Figure:
    """Recovery over any two dimensions of a sweep, or the drift of a pair of models over blocks and layers.

    Other dimensions are averaged with undefined values left out; only components (or blocks) never are: where they are
    on no axis, each gets a panel. Blue: recovery above 0, towards the donor; white: 0, as the recipient; orange: below
    0, further away from the donor. Drift is white where nothing moved and blue where most did. Grey: no value.

    Args:
        result: a sweep; ``pair.alignment``, a drift map, or a dataset of one's own.
        metric: one that the sweep measured, or a variable of the dataset; None takes ``krs``, else the first.
        x, y: dimensions; None for ``y`` takes the first that is not ``x``.
        limit: where the strongest colour is reached; what lies beyond has that colour too and is counted in the
            note. By default 1 for recovery (the scale goes from -1 to 1), or where all of it is below 0.25 the next
            round number above, which the bar then names; for drift the greatest change that there is.
        title: in place of the usual one.
        select: coordinates to keep, one or several of a dimension: ``component="mlp_post"``, ``layer=[3, 4]``. With one
            ``prompt``, positions are labelled with its tokens, those of the answer in bold.

    Raises:
        DissectError: no such metric, dimension or coordinate.
    """
    if isinstance(result, SweepResult):
        data, spec = result.data, result.spec
        metric = metric or ("krs" if "krs" in result.metrics else next(iter(result.metrics)))
        values = result.recovery(metric)
    else:
        data, spec = _dataset(result), {}
        values = _variable(data, metric)
    shown = selected(values, select)
    if "prompt" in select:
        data = data.sel(prompt=shown["prompt"])
        if "token" in data and data.sizes["prompt"] == 1:  # what this text does not have is not drawn
            there = data["token"].isel(prompt=0) != ""
            shown = shown.sel(position=[p for p in shown["position"].values if bool(there.sel(position=p))])
    grid = _arranged(shown, x, _other(values, x, y), data)
    if not bool(np.isfinite(grid.mean).any()):
        raise DissectError(f"nothing to draw: {values.name} is undefined everywhere in what was selected")
    if isinstance(result, SweepResult):
        name = labels.recovery(str(metric), result.metrics[str(metric)])
        scale = recovery_scale(grid.mean.values, name, limit)
        heading = (labels.swap(spec), labels.setting(spec, data.sizes["prompt"]))
    else:
        scale = drift_scale(grid.mean.values, str(values.name), limit)
        heading = (f"Parameters of the two models: {scale.name}", "")
    figure = _drawn(grid, scale, spec.get("window", 1))
    style.headed(figure, title or heading[0], heading[1])
    missing = int((grid.count == 0).sum())
    sentences = [
        grid.averaged,
        scale.note,
        "" if select else _outside(result, metric, scale),
        f"Grey: {labels.counted(missing, 'cell')} without a value." if missing else "",
    ]
    return style.captioned(figure, labels.wrapped(sentences), below=58)


def _dataset(result: Any) -> xr.Dataset:
    """A dataset, or that over layers of an alignment or a drift map."""
    data = getattr(result, "layers", result)
    if not isinstance(data, xr.Dataset):
        raise DissectError(
            f"a heatmap needs a SweepResult, a Drift, an Alignment or a Dataset, got {type(result).__name__}"
        )
    return data


def _outside(result: Any, name: str | None, scale: Scale) -> str:
    """The blocks of a drift map or an alignment that have no layer, as a sentence."""
    data = getattr(result, "outside", None)
    if not isinstance(data, xr.Dataset) or not data.sizes.get("block"):
        return ""
    values = _variable(data, name)
    shown = [
        f"{labels.plain(str(block))} {scale.text(value)}"
        for block, value in zip(values["block"].values, values.values.tolist(), strict=True)
        if np.isfinite(value)
    ]
    return f"Outside the layers: {', '.join(shown)}." if shown else ""


def _variable(data: xr.Dataset, name: str | None) -> xr.DataArray:
    """A variable of a dataset; the first unless named."""
    if name is None:
        name = str(next(iter(data.data_vars), None))
    if name not in data.data_vars:
        raise DissectError(f"the dataset has no variable {name!r}: it has {', '.join(map(str, data.data_vars))}")
    values = data[name]
    return 1 - values if name == "cosine" else values  # as the other measures: 0 where nothing changed


def _other(values: xr.DataArray, x: str, y: str | None) -> str:
    """The vertical dimension, both checked."""
    dims = [str(dim) for dim in values.dims]
    for dim in (x, y):
        if dim is not None and dim not in dims:
            raise DissectError(f"the result has no dimension {dim!r}: it has {', '.join(dims)}")
    if x == y:
        raise DissectError(f"x and y are both {x!r}: choose two of {', '.join(dims)}")
    if len(dims) < 2:
        raise DissectError(f"a heatmap needs two dimensions, {values.name} has only {', '.join(dims) or 'none'}")
    return y if y is not None else next(dim for dim in dims if dim != x)


def _arranged(values: xr.DataArray, x: str, y: str, data: xr.Dataset) -> _Grid:
    """Average what is neither axis nor panel."""
    panel = next((dim for dim in PANELS if dim in values.dims and dim not in (x, y)), None)
    if panel is None:
        values, panel = values.expand_dims("panel"), "panel"
    rest = [str(dim) for dim in values.dims if dim not in (panel, x, y)]
    defined = values.notnull() & (abs(values) < np.inf)
    counts = defined.sum(rest)
    averaged = ""
    if rest:
        fewest = int(counts.where(counts > 0, counts.max()).min())
        left_out = int(np.prod([values.sizes[dim] for dim in rest])) - fewest
        several = [labels.counted(values.sizes[dim], dim) for dim in rest if values.sizes[dim] > 1]
        averaged = f"Mean over {' and '.join(several)}" if several else ""
        averaged += f", up to {left_out} undefined left out." if several and left_out else "." if several else ""
    return _Grid(
        mean=values.where(defined).mean(rest).transpose(panel, y, x),
        count=counts.transpose(panel, y, x),
        averaged=averaged,
        data=data,
    )


def _drawn(grid: _Grid, scale: Scale, window: Any) -> go.Figure:
    """One heatmap a panel, with one colour bar."""
    panel, y, x = (str(dim) for dim in grid.mean.dims)
    n_panels, n_rows, n_columns = grid.mean.shape
    across = n_panels if n_panels <= 3 else (2 if n_panels == 4 or n_columns > _TEXT_COLUMNS else 3)
    down = ceil(n_panels / across)
    inner = min(48, max(15, 380 // n_rows)) * n_rows
    height = down * inner + (down - 1) * _BETWEEN
    names = [labels.component(str(name)) for name in grid.mean[panel].values] if panel != "panel" else None
    if names is not None and across == 3:  # longer ones would run into their neighbours
        names = [labels.wrapped([name], 26) for name in names]
    figure = make_subplots(
        down,
        across,
        subplot_titles=names,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=_BETWEEN / height if down > 1 else 0,
    )
    figure.update_annotations(font={"size": 12.5})
    written = n_rows <= _TEXT_ROWS and n_columns * across <= _TEXT_COLUMNS
    for number in range(n_panels):
        cells = grid.mean.isel({panel: number})
        trace = go.Heatmap(
            z=cells.values,
            x=ticks(grid.data, cells[x]),
            y=ticks(grid.data, cells[y]),
            coloraxis="coloraxis",
            xgap=1 if n_columns * across <= 2 * _TEXT_COLUMNS else 0,  # among narrow cells lines would dominate
            ygap=1,
            text=_details(grid, number),
            hovertemplate=f"{labels.axis(y)}: %{{y}}<br>{labels.axis(x, window)}: %{{x}}"
            f"<br>{scale.name}: %{{z:{scale.form}}}<br>%{{text}}<extra></extra>",
            texttemplate=f"%{{z:{scale.form}}}" if written else None,
        )
        figure.add_trace(trace, row=number // across + 1, col=number % across + 1)
    figure.update_xaxes(type="category", showgrid=False, showline=False, ticks="")
    figure.update_yaxes(type="category", showgrid=False, showline=False, ticks="", automargin=True)
    if n_rows <= _NAMED_ROWS:
        figure.update_yaxes(dtick=1, tickfont={"size": 12 if n_rows <= _TEXT_ROWS else 10})
    if y not in _UPWARDS:
        figure.update_yaxes(autorange="reversed")
    for number in range(max(0, n_panels - across), n_panels):  # the last of each column, also where a row is not full
        row, column = number // across + 1, number % across + 1
        figure.update_xaxes(title_text=labels.axis(x, window), showticklabels=True, row=row, col=column)
    figure.update_yaxes(title_text=labels.axis(y, window), col=1)
    top = 75 if names is None else 95
    return figure.update_layout(
        height=max(height, 220) + top + 100,
        plot_bgcolor=style.UNDEFINED,
        coloraxis=scale.coloraxis(),
        margin={"l": 70, "r": 30, "t": top},
    )


def _details(grid: _Grid, number: int) -> list[list[str]]:
    """Lines for the hover: how many values entered, and which layers were swapped."""
    cells = grid.count.isel({grid.count.dims[0]: number})
    lines = np.full(cells.shape, "", dtype=object)
    if grid.averaged:
        lines[:] = [[f"mean of {labels.counted(int(n), 'value')}" for n in row] for row in cells.values]
    if "members" in grid.data and {"component", "layer"} <= set(cells.coords) and "prompt" not in cells.dims:
        members = grid.data["members"].sel(component=cells["component"], layer=cells["layer"])
        if set(members.dims) <= set(cells.dims):
            text = xr.broadcast(members, cells)[0].transpose(*cells.dims).values.astype(object)
            lines = np.where(text == "", lines, lines + "<br>swapped: " + text)
    return lines.tolist()
