"""Forgetting against utility: one point a checkpoint."""

import math
from typing import Any

import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import ScoredRow
from dissect.plots import labels, style

_ROLE_SYMBOLS = {"base": "x", "retrained": "star"}
"""Markers of the models that are not the result of unlearning."""


def tradeoff(
    evaluation: Evaluation,
    *,
    forgetting: str = "exact_match",
    utility: str = "exact_match",
    forget_set: str = "forget",
    utility_set: str = "retain",
    title: str | None = None,
) -> go.Figure:
    """Draw what is left of the forgotten facts (vertical, falling upwards) against what is kept (horizontal).

    The best corner is the upper right: nothing left of what was to be forgotten, everything kept. Whiskers are the 95%
    intervals. A measure for which low values mean knowledge is drawn the other way round.

    Raises:
        DissectError: no checkpoint has both numbers.
    """
    points = []
    for model in evaluation.models:
        name = model["name"]
        if evaluation.has(name, utility, utility_set) and evaluation.has(name, forgetting, forget_set):
            points.append(
                (
                    name,
                    model.get("role"),
                    evaluation.get(name, utility, utility_set),
                    evaluation.get(name, forgetting, forget_set),
                )
            )
    if not points:
        raise DissectError(
            f"nothing to draw: no checkpoint has both {utility} on {utility_set} and {forgetting} on {forget_set}"
        )
    figure = go.Figure()
    for index, (name, role, kept, left) in enumerate(points):
        colour = style.MUTED if role else style.PALETTE[index % len(style.PALETTE)]
        symbol = _ROLE_SYMBOLS.get(str(role), style.SYMBOLS[index % len(style.SYMBOLS)])
        figure.add_scatter(
            x=[kept.value],
            y=[left.value],
            name=labels.plain(name),
            mode="markers",
            marker={"size": 11, "color": colour, "symbol": symbol},
            error_x=_whisker(kept, colour),
            error_y=_whisker(left, colour),
            hovertemplate=f"{labels.plain(name)}<br>kept {kept.text}<br>left {left.text}<extra></extra>",
        )
    style.headed(
        figure,
        title or "Forgetting against utility",
        f"{labels.counted(points[0][3].n, 'forget fact')} · {labels.counted(points[0][2].n, utility_set + ' fact')}",
    )
    left_knows, kept_knows = (evaluation.measures.get(name, {}).get("knows") for name in (forgetting, utility))
    figure.update_yaxes(
        title_text=f"{_label(evaluation, forgetting)} on {labels.plain(forget_set)} (up: forgotten)",
        autorange=None if left_knows == "low" else "reversed",
    )
    figure.update_xaxes(
        title_text=f"{_label(evaluation, utility)} on {labels.plain(utility_set)} (right: kept)",
        autorange="reversed" if kept_knows == "low" else None,
        showgrid=True,
    )
    figure.update_layout(height=style.HEIGHT, showlegend=True)
    return style.captioned(
        figure, "Upper right: forgotten what was to be, kept the rest. Whiskers: 95% intervals.", below=58
    )


def _label(evaluation: Evaluation, measure: str) -> str:
    return labels.plain(evaluation.measures.get(measure, {}).get("label", measure))


def _whisker(row: ScoredRow, colour: str) -> dict[str, Any]:
    if math.isnan(row.low):
        return {}
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, row.high - row.value)],
        "arrayminus": [max(0.0, row.value - row.low)],
        "color": style.translucent(colour, 0.5),
        "thickness": 1.2,
        "width": 3,
    }
