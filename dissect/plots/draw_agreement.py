"""First-order estimates against exact patches of the same cells."""

import math
from typing import Any

import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.patching.attribution_result import AttributionResult
from dissect.plots import labels, style
from dissect.sweep.results.sweep_result import SweepResult


def agreement(result: SweepResult | Any, *, title: str | None = None) -> go.Figure:
    """Each cell that ``attribute(..., check=n)`` also patched exactly: its estimate (horizontal), the exact change.

    Both are changes of the metric, means over prompts. On the dashed line the estimate is exact; points that rise from
    left to right without lying on it are still in the right order, which is what the rank correlation says.

    Raises:
        DissectError: no estimates, or none that were checked.
    """
    if not isinstance(result, SweepResult):
        raise DissectError(
            f"agreement is of estimates, got {type(result).__name__}: give dissect.attribute(..., check=40)"
        )
    estimates = AttributionResult(result.data)
    table = estimates.checked
    if not len(table):
        raise DissectError("nothing to draw: no cell was also patched exactly; use attribute(..., check=40)")
    figure = go.Figure()
    ends = [float(table[["estimate", "exact"]].min().min()), float(table[["estimate", "exact"]].max().max())]
    line = {"color": style.MUTED, "dash": "dash", "width": 1.3}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip", showlegend=False)
    for look, name in enumerate(dict.fromkeys(table["component"])):
        part = table[table["component"] == name]
        places = [column for column in table.columns if column not in ("component", "estimate", "exact")]
        figure.add_scatter(
            x=part["estimate"],
            y=part["exact"],
            mode="markers",
            name=labels.component(str(name)),
            marker={
                "color": style.PALETTE[look % len(style.PALETTE)],
                "symbol": style.SYMBOLS[look % len(style.SYMBOLS)],
                "size": 8,
            },
            text=[", ".join(f"{labels.axis(p)} {row[p]}" for p in places) for _, row in part.iterrows()],
            hovertemplate="%{text}<br>estimate %{x:.3g}, exact %{y:.3g}<extra></extra>",
        )
    rank = estimates.agreement
    words = "rank correlation undefined" if rank is None or math.isnan(rank) else f"rank correlation {rank:.3f}"
    quiet = f"{words} over {labels.counted(estimates.n_checked, 'cell')}"
    style.headed(figure, title or "First-order estimates against exact patches", labels.plain(quiet))
    metric = next(iter(result.metrics))
    label = labels.plain(result.metrics[metric]["label"])
    figure.update_xaxes(title_text=f"estimated change of {label}", showgrid=True)
    figure.update_yaxes(title_text="exact change")
    figure.update_layout(height=style.HEIGHT, margin={"t": 75}, showlegend=table["component"].nunique() > 1)
    return style.captioned(
        figure, "Changes of the metric, means over prompts. Dashed: estimate and patch agree.", below=58
    )
