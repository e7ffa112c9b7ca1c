"""Measures that have a place on an axis: by layer, by step, by dtype; one line a checkpoint."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.plots import labels, style

_NOT_PLACES = ("model", "value", "low", "high", "n")


def measured(
    evaluation: Evaluation,
    measure: str,
    *,
    along: str = "layer",
    set: str = "forget",
    models: Sequence[str] | None = None,
    title: str | None = None,
    **at: float | int | str,
) -> go.Figure:
    """A measure along an axis with its 95% intervals: a colour a checkpoint, a dash for each of its other places.

    Args:
        along: a key of the measure's ``at``: layer, step, ...
        models: only these checkpoints.
        at: only these values of other keys.

    Raises:
        DissectError: the measure has nothing along that axis.
    """
    table = evaluation.curve(measure, along, set)
    if models is not None and len(table):
        table = table[table["model"].isin(list(models))]
    for key, value in at.items():
        table = table[table[key] == value] if key in table else table[:0]
    if not len(table):
        there = sorted({key for row in evaluation.rows if row.measure == measure for key in row.at})
        raise DissectError(f"nothing to draw: {measure} on {set} has no such points along {along!r}; it has {there}")
    others = [key for key in table.columns if key not in (*_NOT_PLACES, along, *at) and table[key].nunique() > 1]
    figure = go.Figure()
    names = [name for name in evaluation.names if name in list(table["model"])]
    kinds = list(dict.fromkeys(tuple(row) for row in table[others].to_numpy().tolist())) if others else [()]
    for index, name in enumerate(names):
        colour = style.PALETTE[index % len(style.PALETTE)]
        for kind_place, kind in enumerate(kinds):
            rows = table[table["model"] == name]
            for key, value in zip(others, kind, strict=True):
                rows = rows[rows[key] == value]
            if not len(rows):
                continue
            text = ", ".join([name, *(str(value) for value in kind)])
            _line(figure, rows, along, text, colour, kind_place + (0 if others else index))
    about = evaluation.measures.get(measure, {})
    label = labels.plain(about.get("label", measure))
    style.headed(figure, title or f"{label}, {labels.plain(set)}", _counted(table["n"]))
    figure.update_yaxes(title_text=label)
    figure.update_xaxes(title_text=labels.axis(along))
    places = sorted(table[along].unique().tolist()) if table[along].dtype.kind in "iu" else []
    if places and len(places) == places[-1] - places[0] + 1:  # layers: no ticks between them
        figure.update_xaxes(tick0=places[0], dtick=1 + len(places) // 20)
    return figure.update_layout(height=style.HEIGHT)


def _counted(n: pd.Series) -> str:
    """Return the number of items; where it differs from point to point, both ends."""
    fewest, most = int(n.min()), int(n.max())
    return labels.counted(most, "item") if fewest == most else f"{fewest} to {labels.counted(most, 'item')}"


def _line(figure: go.Figure, rows, along: str, text: str, colour: str, look: int) -> None:  # type: ignore[no-untyped-def]
    x = rows[along].tolist()
    if rows["low"].notna().any():
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=[*rows["high"], *rows["low"].tolist()[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=style.translucent(colour, 0.13),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=text,
        )
    figure.add_scatter(
        x=x,
        y=rows["value"],
        name=labels.plain(text),
        legendgroup=text,
        mode="lines+markers",
        line={"color": colour, "dash": style.DASHES[look % len(style.DASHES)], "width": 2},
        marker={"symbol": style.SYMBOLS[look % len(style.SYMBOLS)], "size": 7},
    )
