"""The way to a smallest set of blocks: what each addition and each removal did to the recovery."""

import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.plots import labels, style
from dissect.restoration.smallest_result import SmallestSet, label

_ROW = 19
"""Pixels for one step."""


def path(smallest: SmallestSet, *, title: str | None = None) -> go.Figure:
    """Recovery after each step of the search, read downwards; filled markers are exact runs of the set so far.

    The dashed line is the threshold. The grey band holds the recoveries of as many blocks of the same kinds in random
    layers: a set that is no better than those says little about where the change is.

    Raises:
        DissectError: the search took no step.
    """
    steps = smallest.path[1:]
    if not steps:
        raise DissectError("nothing to draw: the search took no step")
    signs = {"add": "+", "remove": "\N{MINUS SIGN}"}
    names = [f"{number}  {signs[step.action]} {label(step.part)}" for number, step in enumerate(steps, 1)]
    figure = go.Figure(
        go.Scatter(
            x=[step.recovery for step in steps],
            y=names,
            mode="lines+markers",
            line={"color": style.PALETTE[0], "width": 1.5},
            marker={
                "size": 8,
                "color": [style.PALETTE[0] if step.action == "add" else "white" for step in steps],
                "line": {"color": style.PALETTE[0], "width": 1.6},
            },
            text=[
                f"{labels.counted(step.size, 'block')}, {step.n_weights / smallest.n_weights:.1%} of the weights"
                for step in steps
            ],
            hovertemplate="%{y}<br>recovery %{x:.3f}<br>%{text}<extra></extra>",
        )
    )
    if smallest.random:
        ends = {"x0": min(smallest.random), "x1": max(smallest.random)}
        figure.add_vrect(**ends, fillcolor=style.UNDEFINED, opacity=0.6, line_width=0, layer="below")
    figure.add_vline(x=smallest.threshold, line={"color": style.MUTED, "dash": "dash", "width": 1.3})
    spec = smallest.spec
    words = f"Smallest set of {spec.get('donor')} blocks that brings the {spec.get('recipient')} model back"
    if spec.get("donor") == "unlearned":
        words = f"Smallest set of unlearned blocks that makes the {spec.get('recipient')} model forget"
    share = steps[-1].n_weights / smallest.n_weights
    reached = f"{len(smallest.members)} of {smallest.n_candidates} blocks, {share:.1%} of the weights"
    reached += f" · recovery {smallest.recovery:.3f} · threshold {smallest.threshold:g}"
    style.headed(figure, title or words, reached if smallest.reached else f"{reached}, not reached")
    figure.update_yaxes(autorange="reversed", type="category", tickfont={"size": 11.5}, automargin=True, dtick=1)
    lowest = min([0.0, *smallest.random, *(step.recovery for step in steps)])
    metric = str(spec.get("metric"))
    axis = labels.recovery(metric, {"label": metric}, pooled=bool(spec.get("pooled")))
    figure.update_xaxes(title_text=axis, range=[lowest - 0.03, 1.05], showgrid=True)
    figure.update_layout(height=_ROW * len(steps) + 200, margin={"l": 70, "r": 30, "t": 75}, showlegend=False)
    sentences = ["Every point is an exact run. Dashed: the threshold."]
    if any(step.action == "remove" for step in steps):
        sentences.append("White: a block was taken out again.")
    if smallest.random:
        count = labels.counted(len(smallest.random), "set")
        sentences.append(f"Grey: {count} of as many blocks of the same kinds in random layers.")
    return style.captioned(figure, labels.wrapped(sentences), below=58)
