"""Recovery over layers, one curve a component: the figure of Hong et al. (EMNLP 2024)."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dissect.errors import DissectError
from dissect.plots import labels, style
from dissect.sweep.result import SweepResult

_LOWEST, _HIGHEST = -1.0, 1.5
"""How far the axis reaches at most: one ruined prompt can bring a mean to -50 and would flatten all curves."""


@dataclass(frozen=True)
class _Curve:
    """One component, where it is defined."""

    name: str
    colour: str
    dash: str
    symbol: str
    layers: np.ndarray
    value: np.ndarray
    """What is drawn: the mean over prompts, or the pooled ratio."""
    low: np.ndarray
    high: np.ndarray
    cut: np.ndarray
    """Whether the window is cut off by the first or the last layer."""
    hover: list[str]


def curves(
    result: SweepResult,
    metric: str = "krs",
    *,
    level: float = 0.95,
    pooled: bool = False,
    seed: int = 0,
    y_range: tuple[float, float] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Recovery over centre layers, a line with markers for each component and a bootstrap band over prompts.

    1 (the upper grey line) is the donor's behaviour, 0 the recipient's own, below 0 further away from the donor than
    without the swap. Open markers: the window is cut off by the first or the last layer, so fewer layers were swapped.

    Args:
        result: what ``patch``, ``restore`` or ``concat`` return.
        metric: one that the sweep measured.
        level: of the bootstrap interval over prompts.
        pooled: draw the ratio of sums over prompts in place of the mean of their ratios; it has no band.
        seed: of the bootstrap.
        y_range: ends of the vertical axis. By default it holds all curves but reaches no further than -1 and 1.5;
            values outside are drawn as arrows at the edge and counted in the note.
        title: in place of the one that tells what was swapped into what.

    Raises:
        DissectError: the sweep did not measure the metric, runs over more than components and layers, or no prompt had
            anything to recover.
    """
    table = result.ci(metric, level=level, seed=seed)
    further = [str(dim) for dim in table.dims if dim not in ("component", "layer")]
    if further:
        raise DissectError(
            f"curves run over layers, this sweep also runs over {', '.join(further)}: "
            f'plots.heatmap(result, x="{further[0]}", y="layer") shows that'
        )
    drawn = [
        curve
        for place, name in enumerate(map(str, table["component"].values))
        if len((curve := _curve(result, table.sel(component=name), name, place, level, pooled)).layers)
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
        figure.add_traces(_traces(curve, pooled))
    for curve in drawn:
        figure.add_traces(_arrows(curve, bottom, top))
    spec, n_prompts = result.spec, result.data.sizes["prompt"]
    style.headed(figure, title or labels.swap(spec), labels.setting(spec, n_prompts))
    _axes(figure, result, metric, pooled, (bottom, top))
    return style.captioned(figure, _note(table, drawn, (bottom, top), level, pooled), below=58)


def _curve(result: SweepResult, table: xr.Dataset, name: str, place: int, level: float, pooled: bool) -> _Curve:
    """Pick one component's values where they are defined."""
    values = table["pooled" if pooled else "mean"]
    here = table.isel(layer=np.flatnonzero(np.isfinite(values.values)))
    members = result.data["members"].sel(component=name, layer=here["layer"]).values.astype(str)
    sizes = np.array([text.count(",") + 1 for text in members], dtype=int)
    window = result.spec.get("window")
    full = window if isinstance(window, int) else sizes.max(initial=1)
    label = labels.component(name)
    hover = []
    for index, text in enumerate(members):
        cell = here.isel(layer=index)
        low, high, undefined = float(cell["low"]), float(cell["high"]), int(cell["n_undefined"])
        hover.append(
            f"<b>{label}</b><br>layer {cell['layer'].item()}, swapped: {text.replace(',', ', ')}"
            f"<br>mean recovery {float(cell['mean']):.3f}"
            + (f", {level:.0%} interval {low:.3f} to {high:.3f}" if np.isfinite(low) else "")
            + f"<br>pooled recovery {float(cell['pooled']):.3f}"
            + f"<br>{labels.counted(int(cell['n']), 'prompt')}"
            + (f" ({undefined} with nothing to recover left out)" if undefined else "")
        )
    return _Curve(
        name=label,
        colour=style.PALETTE[place % len(style.PALETTE)],
        dash=style.DASHES[place % len(style.DASHES)],
        symbol=style.SYMBOLS[place % len(style.SYMBOLS)],
        layers=here["layer"].values,
        value=(here["pooled"] if pooled else here["mean"]).values,
        low=here["low"].values,
        high=here["high"].values,
        cut=sizes < full,
        hover=hover,
    )


def _traces(curve: _Curve, pooled: bool) -> list[go.Scatter]:
    """Band, line with filled markers, and white-filled markers over those of cut-off windows."""
    common = {"legendgroup": curve.name, "name": curve.name}
    known = np.isfinite(curve.low)
    traces = []
    if not pooled and known.sum() > 1:
        there, back = curve.layers[known], curve.layers[known][::-1]
        traces.append(
            go.Scatter(
                x=np.concatenate([there, back]),
                y=np.concatenate([curve.high[known], curve.low[known][::-1]]),
                fill="toself",
                fillcolor=style.translucent(curve.colour, 0.15),
                mode="lines",
                line={"width": 0},
                showlegend=False,
                hoverinfo="skip",
                **common,
            )
        )
    single = not pooled and len(curve.layers) == 1 and known.all()  # a band of no width would not be seen
    traces.append(
        go.Scatter(
            x=curve.layers,
            y=curve.value,
            mode="lines+markers",
            line={"color": curve.colour, "dash": curve.dash, "width": 2},
            marker={"symbol": curve.symbol, "size": 8, "color": curve.colour},
            error_y={"array": curve.high - curve.value, "arrayminus": curve.value - curve.low} if single else None,
            text=curve.hover,
            hovertemplate="%{text}<extra></extra>",
            **common,
        )
    )
    if curve.cut.any():
        traces.append(
            go.Scatter(
                x=curve.layers[curve.cut],
                y=curve.value[curve.cut],
                mode="markers",
                marker={
                    "symbol": curve.symbol,
                    "size": 8,
                    "color": "white",
                    "line": {"color": curve.colour, "width": 1.6},
                },
                showlegend=False,
                hoverinfo="skip",
                **common,
            )
        )
    return traces


def _arrows(curve: _Curve, bottom: float, top: float) -> list[go.Scatter]:
    """Arrowheads at the edge of the plot for points beyond it."""
    traces = []
    for beyond, edge, symbol in (
        (curve.value < bottom, bottom, "triangle-down"),
        (curve.value > top, top, "triangle-up"),
    ):
        if beyond.any():
            traces.append(
                go.Scatter(
                    x=curve.layers[beyond],
                    y=np.full(int(beyond.sum()), edge),
                    mode="markers",
                    marker={"symbol": symbol, "size": 11, "color": curve.colour},
                    cliponaxis=False,
                    showlegend=False,
                    legendgroup=curve.name,
                    name=f"{curve.name}, outside",
                    text=[text for text, outside in zip(curve.hover, beyond, strict=True) if outside],
                    hovertemplate="outside the axis<br>%{text}<extra></extra>",
                )
            )
    return traces


def _legend_width(figure: go.Figure) -> float:
    """Pixels that the legend takes in one row, roughly: whether to leave room for a second."""
    return sum(55 + 6.2 * len(trace.name) for trace in figure.data if trace.showlegend is not False)


def _limits(drawn: list[_Curve]) -> tuple[float, float]:
    """Ends of the vertical axis that show both models' lines and the curves with their bands."""
    seen = np.concatenate([part for curve in drawn for part in (curve.value, curve.low, curve.high)])
    seen = seen[np.isfinite(seen)]
    return max(_LOWEST, min(-0.1, float(seen.min()) - 0.05)), min(_HIGHEST, max(1.1, float(seen.max()) + 0.05))


def _note(table: xr.Dataset, drawn: list[_Curve], limits: tuple[float, float], level: float, pooled: bool) -> str:
    """What the figure shows, and what of it is not seen."""
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


def _axes(figure: go.Figure, result: SweepResult, metric: str, pooled: bool, limits: tuple[float, float]) -> None:
    """Ranges, ticks, legend, and the lines of the two models."""
    layers = result.data["layer"].values
    if np.issubdtype(layers.dtype, np.number):
        span = int(layers.max() - layers.min())
        figure.update_xaxes(
            title_text=labels.axis("layer", result.spec.get("window", 1)),
            range=[float(layers.min()) - 0.5, float(layers.max()) + 0.5],
            tick0=0,
            dtick=next(step for step in (1, 2, 4, 8, 16, 32) if span / step <= 20 or step == 32),
        )
    else:  # sets of layers by name
        figure.update_xaxes(title_text="layers", type="category", range=[-0.5, len(layers) - 0.5])
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
    figure.update_layout(
        height=style.HEIGHT,
        margin={"l": 70, "r": 90, "t": 100 if _legend_width(figure) < 640 else 124},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
        hovermode="closest",
    )
