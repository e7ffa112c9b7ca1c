"""Numbers with their intervals, a line a row of a table; and two distributions back to back."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dissect.plots import labels, style
from dissect.plots.draw_panels import checked, finished, legend_above

_LINE = 26
"""Pixels of a row."""


def intervals(
    table: pd.DataFrame,
    *,
    label: str,
    group: str | None = None,
    title: str = "",
    subtitle: str = "",
    caption: str = "",
    x_title: str = "",
    x_range: tuple[float, float] | None = None,
) -> go.Figure:
    """A point with its interval for each row, from top to bottom in their order; a colour for each ``group``.

    Args:
        table: ``value``, ``low``, ``high`` and the columns named. Rows of one label stand on one line.

    Raises:
        DissectError: a table without rows or without one of the columns.
    """
    checked(table, ("value", "low", "high", label, *([group] if group else [])))
    table = table[table["value"].apply(math.isfinite)]
    checked(table, ())
    names = list(dict.fromkeys(table[group])) if group else [""]
    lines = list(dict.fromkeys(table[label].astype(str)))
    figure = go.Figure()
    for look, name in enumerate(names):
        part = table[table[group] == name] if group else table
        colour = style.PALETTE[look % len(style.PALETTE)]
        shift = 0.0 if len(names) == 1 else (look - (len(names) - 1) / 2) * 0.5 / len(names)
        up, down = (part["high"] - part["value"]).clip(lower=0), (part["value"] - part["low"]).clip(lower=0)
        figure.add_scatter(
            x=part["value"],
            y=[lines.index(str(text)) + shift for text in part[label]],
            name=labels.plain(str(name)),
            mode="markers",
            showlegend=bool(group),
            marker={"symbol": style.SYMBOLS[look % len(style.SYMBOLS)], "size": 9, "color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": up.fillna(0.0),
                "arrayminus": down.fillna(0.0),
                "color": colour,
                "thickness": 1.4,
                "width": 4,
            },
            customdata=np.stack([part["low"], part["high"]], axis=-1),
            hovertemplate="%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
        )
    left = 30 + int(6.8 * max(map(len, lines)))
    finished(figure, title, subtitle, caption, rows=1, names=[str(name) for name in names], left=left)
    figure.update_yaxes(
        tickvals=list(range(len(lines))),
        ticktext=[labels.plain(line) for line in lines],
        range=[len(lines) - 0.4, -0.6],
        showgrid=True,
    )
    figure.update_xaxes(title_text=x_title, range=None if x_range is None else list(x_range))
    margin = figure.layout.margin
    height = margin.t + margin.b + _LINE * max(4, len(lines))
    figure.update_layout(height=height)
    legend_above(figure)
    return figure


def mirrored(
    upper: np.ndarray,
    lower: np.ndarray,
    *,
    names: tuple[str, str],
    bins: int = 30,
    title: str = "",
    subtitle: str = "",
    caption: str = "",
    x_title: str = "",
) -> go.Figure:
    """Two histograms of shares, 0 to 1, the second one hanging down; heights are shares of the items."""
    edges = np.linspace(0, 1, bins + 1)
    figure = go.Figure()
    for look, (values, sign) in enumerate(((upper, 1), (lower, -1))):
        counts, _ = np.histogram(np.clip(values, 0, 1), edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=sign * counts / max(1, len(values)),
            width=1 / bins,
            name=labels.plain(names[look]),
            marker={"color": style.PALETTE[look], "line": {"color": "white", "width": 0.5}},
            hovertemplate=f"{labels.plain(names[look])}: %{{y:.3f}} of {len(values)}<extra></extra>",
        )
    finished(figure, title, subtitle, caption, rows=1, names=list(names))
    figure.update_xaxes(title_text=x_title, range=[0, 1])
    return figure.update_yaxes(title_text="share of the answers").update_layout(barmode="relative")
