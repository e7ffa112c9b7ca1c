"""Small multiples: curves of a table, a panel for each value of a column."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dissect.errors import DissectError
from dissect.plots import labels, style

_ROW = 320
"""Pixels of a row of panels."""


def panels(
    table: pd.DataFrame,
    *,
    x: str,
    curve: str,
    panel: str,
    references: pd.DataFrame | None = None,
    columns: int = 3,
    title: str = "",
    subtitle: str = "",
    caption: str = "",
    x_title: str | None = None,
    y_titles: Mapping[str, str] | None = None,
    log_x: bool = False,
    log_y: Collection[str] = (),
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """A line with markers for each value of ``curve``, its interval as a band, in a panel for each value of ``panel``.

    Args:
        table: one row a point, with ``value``, ``low`` and ``high`` and the columns named; order is kept.
        references: rows with ``panel``, ``name`` and ``value``: grey horizontal lines.
        columns: panels in a row, at most.
        y_titles: of panels by their values.
        log_x: the horizontal axis counts in factors; ticks stand at the values there are.
        log_y: panels whose vertical axis does.
        y_range: of every panel; by default each has its own.

    Raises:
        DissectError: a table without rows or without one of the columns.
    """
    checked(table, (x, curve, panel, "value", "low", "high"))
    places, names = list(dict.fromkeys(table[panel])), list(dict.fromkeys(table[curve]))
    width = min(columns, len(places))
    rows = math.ceil(len(places) / width)
    figure = make_subplots(
        rows=rows,
        cols=width,
        subplot_titles=[labels.plain(str(key)) for key in places],
        horizontal_spacing=0.09 if width > 1 else 0.0,
        vertical_spacing=0.22 / rows if rows > 1 else 0.0,
    )
    looks = {name: number for number, name in enumerate(names)}
    for number, key in enumerate(places):
        where = {"row": number // width + 1, "col": number % width + 1}
        part = table[table[panel] == key]
        for name in dict.fromkeys(part[curve]):
            drawn = part[(part[curve] == name) & part["value"].apply(math.isfinite)]
            shown = _first(table, panel, curve, key, name)
            for trace in _line(drawn, x, str(name), looks[name], shown):
                figure.add_trace(trace, **where)
        if references is not None:
            ends = [float(part[x].min()), float(part[x].max())]
            _references(figure, references[references["panel"] == key], ends, where)
        figure.update_xaxes(title_text=x_title or labels.axis(x), **where)
        if log_x:
            ticks = sorted(set(table[x]))
            figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], **where)
        elif table[x].dtype.kind in "iu" and table[x].max() - table[x].min() <= 12:
            figure.update_xaxes(dtick=1, **where)  # no ticks between whole numbers
        if key in log_y:
            figure.update_yaxes(**log_axis(part["value"]), **where)
        elif y_range is not None:
            figure.update_yaxes(range=list(y_range), **where)
        figure.update_yaxes(title_text=(y_titles or {}).get(key, ""), **where)
    return finished(figure, title, subtitle, caption, rows=rows, names=[str(name) for name in names])


def checked(table: pd.DataFrame, columns: Collection[str]) -> None:
    """A table can be drawn.

    Raises:
        DissectError: it has no rows, or lacks a column.
    """
    for column in columns:
        if column not in table:
            raise DissectError(f"the table has no column {column!r}: it has {', '.join(map(str, table.columns))}")
    if not len(table):
        raise DissectError("nothing to draw: the table has no rows")


def log_axis(values: pd.Series) -> dict[str, Any]:
    """Settings of an axis that counts in factors, ticks at 1, 2 and 5 times powers of ten.

    plotly leaves the powers out of most of its own labels. Where values span less than a factor of 4 it does not.
    """
    seen = values[values.apply(math.isfinite) & (values > 0)]
    if not len(seen) or seen.max() < 4 * seen.min():
        return {"type": "log"}
    first, last = math.floor(math.log10(seen.min())), math.ceil(math.log10(seen.max()))
    steps, stride = ((1, 2, 5), 1) if last - first < 4 else ((1,), math.ceil((last - first + 1) / 5))
    ticks = [step * 10.0**power for power in range(first, last + 1, stride) for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def finished(
    figure: go.Figure, title: str, subtitle: str, caption: str, *, rows: int, names: list[str], left: int = 70
) -> go.Figure:
    """Title, legend above the panels, note below them, and the height that all of it takes."""
    figure.update_annotations(font={"size": 13})  # the panels' titles
    style.headed(figure, title, subtitle)
    right = 40
    top = 92 + style.legend_height(filter(None, names), beside=left + right)
    text = labels.wrapped([caption]) if caption else ""
    bottom = 70 + 16 * (text.count("<br>") + 1 if text else 0)
    height = rows * _ROW + top + bottom
    figure.update_layout(
        height=height,
        margin={"t": top, "b": bottom, "l": left, "r": right},
    )
    legend_above(figure)
    return style.captioned(figure, text, below=58)


def legend_above(figure: go.Figure) -> None:
    """The legend stands so many pixels above the panels, whatever the height."""
    layout = figure.layout
    inside = layout.height - layout.margin.t - layout.margin.b
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1 + 32 / inside, "yanchor": "bottom"})


def _first(table: pd.DataFrame, panel: str, curve: str, place: Any, name: Any) -> bool:
    """Return whether this is the first panel that has the curve: the legend names it once."""
    return table[table[curve] == name][panel].iloc[0] == place


def _line(drawn: pd.DataFrame, x: str, name: str, look: int, shown: bool) -> list[go.Scatter]:
    colour = style.PALETTE[look % len(style.PALETTE)]
    known = drawn[drawn["low"].apply(math.isfinite) & drawn["high"].apply(math.isfinite)]
    text = [
        f"<b>{labels.plain(name)}</b><br>{labels.axis(x)} {at:g}<br>{labels.number(value)}"
        + (f" ({labels.number(low)} to {labels.number(high)})" if math.isfinite(low) else "")
        for at, value, low, high in zip(drawn[x], drawn["value"], drawn["low"], drawn["high"], strict=True)
    ]
    traces = []
    if len(known) > 1:
        traces.append(
            go.Scatter(
                x=[*known[x], *known[x][::-1]],
                y=[*known["high"], *known["low"][::-1]],
                mode="lines",
                fill="toself",
                fillcolor=style.translucent(colour, 0.13),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        )
    traces.append(
        go.Scatter(
            x=drawn[x],
            y=drawn["value"],
            name=labels.plain(name),
            legendgroup=name,
            showlegend=shown,
            mode="lines+markers",
            line={"color": colour, "dash": style.DASHES[look % len(style.DASHES)], "width": 2},
            marker={"symbol": style.SYMBOLS[look % len(style.SYMBOLS)], "size": 7},
            text=text,
            hovertemplate="%{text}<extra></extra>",
        )
    )
    return traces


def _references(figure: go.Figure, lines: pd.DataFrame, ends: list[float], where: Mapping[str, int]) -> None:
    """Grey lines across the panel; their names stand at its left and right end in turn."""
    for index, (name, value) in enumerate(zip(lines["name"], lines["value"], strict=True)):
        if math.isfinite(value):
            at_left = index % 2 == 0
            figure.add_trace(
                go.Scatter(
                    x=ends,
                    y=[value] * 2,
                    mode="lines+text",
                    text=[labels.plain(str(name)), ""] if at_left else ["", labels.plain(str(name))],
                    textposition="bottom right" if at_left else "top left",
                    textfont={"size": 10.5, "color": style.MUTED},
                    line={"color": style.MUTED, "width": 1.2, "dash": "dash" if at_left else "dot"},
                    hovertemplate=f"{labels.plain(str(name))} %{{y:.3g}}<extra></extra>",
                    showlegend=False,
                    cliponaxis=False,
                ),
                **where,
            )
