"""One number against another, one point a row of a table, in small multiples."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dissect.plots import labels, style
from dissect.plots.draw_panels import checked, finished, log_axis

_COLUMNS = ("x", "x_low", "x_high", "y", "y_low", "y_high")


def points(
    table: pd.DataFrame,
    *,
    group: str,
    panel: str,
    line: str | None = None,
    references: pd.DataFrame | None = None,
    columns: int = 2,
    title: str = "",
    subtitle: str = "",
    caption: str = "",
    titles: Mapping[str, tuple[str, str]] | None = None,
    log_x: Collection[str] = (),
    reversed_x: Collection[str] = (),
    reversed_y: Collection[str] = (),
    fit: bool = False,
) -> go.Figure:
    """Points with their intervals, a colour for each value of ``group``, in a panel for each value of ``panel``.

    Args:
        table: columns ``x``, ``x_low``, ``x_high``, the same for ``y``, ``text`` to be read beside a point, and those
            named.
        line: points of one group that agree in this column are joined by a line, in their order.
        references: ``panel``, ``name``, ``x`` and ``y`` of grey points, such as the base model.
        titles: of the axes (horizontal, vertical), by panel.
        log_x: panels whose horizontal axis counts in factors.
        reversed_x, reversed_y: panels whose axis falls, so that the better corner stays the upper right.
        fit: a least-squares line for each group.

    Raises:
        DissectError: a table without rows or without one of the columns.
    """
    checked(table, (*_COLUMNS, "text", group, panel))
    table = table[table["x"].apply(math.isfinite) & table["y"].apply(math.isfinite)]
    checked(table, ())
    places, names = list(dict.fromkeys(table[panel])), list(dict.fromkeys(table[group]))
    width = min(columns, len(places))
    rows = math.ceil(len(places) / width)
    figure = make_subplots(
        rows=rows,
        cols=width,
        subplot_titles=[labels.plain(str(key)) for key in places],
        horizontal_spacing=0.11 if width > 1 else 0.0,
        vertical_spacing=0.24 / rows if rows > 1 else 0.0,
    )
    told: set[Any] = set()
    for number, key in enumerate(places):
        where = {"row": number // width + 1, "col": number % width + 1}
        for look, name in enumerate(names):
            part = table[(table[panel] == key) & (table[group] == name)]
            if len(part):
                for trace in _traces(part, str(name), look, line, fit and key not in log_x, name not in told):
                    figure.add_trace(trace, **where)
                told.add(name)
        if references is not None:
            for trace in _fixed(references[references["panel"] == key]):
                figure.add_trace(trace, **where)
        horizontal, vertical = (titles or {}).get(key, ("", ""))
        figure.update_xaxes(title_text=horizontal, showgrid=True, **where)
        figure.update_yaxes(title_text=vertical, **where)
        if key in log_x:
            figure.update_xaxes(**log_axis(table[table[panel] == key]["x"]), **where)
        if key in reversed_x:
            figure.update_xaxes(autorange="reversed", **where)
        if key in reversed_y:
            figure.update_yaxes(autorange="reversed", **where)
    return finished(figure, title, subtitle, caption, rows=rows, names=[str(name) for name in names])


def _traces(part: pd.DataFrame, name: str, look: int, line: str | None, fit: bool, shown: bool) -> list[go.Scatter]:
    colour = style.PALETTE[look % len(style.PALETTE)]
    dash, symbol = style.DASHES[look % len(style.DASHES)], style.SYMBOLS[look % len(style.SYMBOLS)]
    traces = []
    if line is not None:
        for value in dict.fromkeys(part[line]):
            joined = part[part[line] == value]
            traces.append(
                go.Scatter(
                    x=joined["x"],
                    y=joined["y"],
                    mode="lines",
                    line={"color": style.translucent(colour, 0.55), "dash": dash, "width": 1.4},
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=name,
                )
            )
    if fit and part["x"].nunique() > 1:
        slope, height = np.polyfit(part["x"], part["y"], 1)
        ends = np.array([part["x"].min(), part["x"].max()])
        traces.append(
            go.Scatter(
                x=ends,
                y=slope * ends + height,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate=f"{labels.plain(name)}: slope {labels.number(float(slope))}<extra></extra>",
                showlegend=False,
                legendgroup=name,
            )
        )
    traces.append(
        go.Scatter(
            x=part["x"],
            y=part["y"],
            name=labels.plain(name),
            legendgroup=name,
            showlegend=shown,
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": colour},
            error_x=_whiskers(part, "x", colour),
            error_y=_whiskers(part, "y", colour),
            text=[f"<b>{labels.plain(name)}</b><br>{labels.plain(str(text))}" for text in part["text"]],
            hovertemplate="%{text}<br>x %{x:.3g}, y %{y:.3g}<extra></extra>",
        )
    )
    return traces


def _fixed(rows: pd.DataFrame) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=[row["x"]],
            y=[row["y"]],
            mode="markers+text",
            text=[labels.plain(str(row["name"]))],
            textposition="bottom left",
            textfont={"size": 10.5, "color": style.MUTED},
            marker={"symbol": "x" if row["name"] == "base" else "star", "size": 11, "color": style.MUTED},
            showlegend=False,
            hovertemplate=f"{labels.plain(str(row['name']))}<br>x %{{x:.3g}}, y %{{y:.3g}}<extra></extra>",
        )
        for _, row in rows.iterrows()
    ]


def _whiskers(part: pd.DataFrame, axis: str, colour: str) -> dict[str, Any]:
    """Both ends of the intervals; none where there is none or it has no finite end."""
    up = (part[f"{axis}_high"] - part[axis]).clip(lower=0)
    down = (part[axis] - part[f"{axis}_low"]).clip(lower=0)
    finite = np.isfinite(up) & np.isfinite(down)
    return {
        "type": "data",
        "symmetric": False,
        "array": up.where(finite, 0.0),
        "arrayminus": down.where(finite, 0.0),
        "color": style.translucent(colour, 0.35),
        "thickness": 1,
        "width": 0,
    }
