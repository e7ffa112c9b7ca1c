"""The logit lens as a table: the likeliest next token after each layer, a panel a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from dissect.errors import DissectError
from dissect.patching.lens_table import LensTable
from dissect.plots import labels, style
from dissect.plots.ticks import asked_in, readable, ticks

_BEFORE = 8
"""So many tokens before the answer's first are shown where nothing else is asked for: there it is being recalled."""
_TITLE, _BELOW = 26, 58
_TEXT_ROWS = 40
"""Up to so many layers their tokens are written into the cells."""
_ROOM = 105
"""Letters that fit beside each other into a row of cells."""


def lens(
    table: LensTable | Any,
    *,
    prompt: int = 0,
    positions: Sequence[int] | str | None = None,
    models: Sequence[str] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Draw what each layer would say next: the likeliest token, its probability as colour, layers upwards.

    In bold where it is the token that does come next in the text. Hovering shows the others of the ``k`` likeliest, and
    the rank of that token.

    Args:
        prompt: one of the table's.
        positions: counted from the answer's first token; by default from 8 before it to the last but one of the answer.
        models: only these.

    Raises:
        DissectError: no such prompt, position or model.
    """
    if not isinstance(table, LensTable):
        raise DissectError(f"a lens figure is of a LensTable, got {type(table).__name__}: give dissect.logit_lens(...)")
    data = table.data
    if isinstance(positions, str):
        raise DissectError(f"positions={positions!r}: give whole numbers such as [-1, 0], or leave it out")
    if prompt not in data["prompt"].values:
        raise DissectError(f"no prompt {prompt!r} in the table: it has {', '.join(map(str, data['prompt'].values))}")
    data = data.sel(prompt=[prompt])
    there = [int(p) for p in data["position"].values if str(data["token"].sel(position=p).values[0])]
    kept = [p for p in there if -_BEFORE <= p < max(there)] if positions is None else [int(p) for p in positions]
    names = [str(name) for name in data["model"].values] if models is None else [str(name) for name in models]
    for wanted, known, what in ((kept, there, "position"), (names, data["model"].values.tolist(), "model")):
        missing = [value for value in wanted if value not in known]
        if missing or not wanted:
            shown = f"no {what} {missing[0]!r} for this prompt" if missing else f"no {what} is left to draw"
            raise DissectError(f"{shown}: it has {', '.join(map(str, known))}")
    data = data.sel(position=kept, model=names)
    figure = _drawn(data, names)
    head = table.spec.get("head")
    read = "each model's own" if head == "own" else f"the {head} model's"
    question, answer = (" ".join(str(data[name].values[0]).split()) for name in (asked_in(data), "answer_text"))
    style.headed(figure, title or "What each layer would say next", labels.plain(f"{question} {answer}"))
    sentences = [
        f"Logit lens: the state after each layer, read with {read} final norm and unembedding.",
        "Below: the token read there, and its distance from the answer's first. Bold: the token that comes next.",
    ]
    return style.captioned(figure, labels.wrapped(sentences), below=_BELOW)


def _drawn(data: xr.Dataset, names: Sequence[str]) -> go.Figure:
    n_layers = data.sizes["layer"]
    inner = min(30, max(14, 620 // n_layers)) * n_layers
    height = len(names) * inner + (len(names) - 1) * (_TITLE + 10)
    figure = make_subplots(
        len(names),
        1,
        subplot_titles=[labels.plain(name) for name in names] if len(names) > 1 else None,
        shared_xaxes=True,
        vertical_spacing=(_TITLE + 10) / height if len(names) > 1 else 0,
    )
    figure.update_annotations(font={"size": 12.5}, x=0, xanchor="left")
    columns = ticks(data, data["position"])
    for row, name in enumerate(names, start=1):
        text, hover = _cells(data.sel(model=name))
        trace = go.Heatmap(
            z=data["probability"].sel(model=name, k=1).isel(prompt=0).values,
            x=columns,
            y=data["layer"].values.tolist(),
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            text=text,
            texttemplate="%{text}" if n_layers <= _TEXT_ROWS else None,
            textfont={"size": 12 if len(columns) <= 8 else 11},
            customdata=hover,
            hovertemplate="layer %{y}, at %{x}<br>%{customdata}<extra></extra>",
        )
        figure.add_trace(trace, row=row, col=1)
    figure.update_xaxes(type="category", showgrid=False, showline=False, ticks="", showticklabels=False)
    figure.update_xaxes(showticklabels=True, row=len(names), col=1)
    figure.update_yaxes(title_text="after layer", showgrid=False, showline=False, ticks="", dtick=1 + n_layers // 24)
    colours = [[index / (len(style.SEQUENTIAL) - 1), colour] for index, colour in enumerate(style.SEQUENTIAL)]
    bar = {"title": {"text": "probability", "side": "right", "font": {"size": 12.5}}, "thickness": 12, "len": 1.0}
    return figure.update_layout(
        height=height + 85 + _TITLE + 100,
        plot_bgcolor=style.UNDEFINED,
        coloraxis={"colorscale": colours, "cmin": 0, "cmax": 1, "colorbar": bar},
        margin={"l": 60, "r": 30, "t": 85},
    )


def _cells(data: xr.Dataset) -> tuple[list[list[str]], list[list[str]]]:
    """Return the text of the cells [layer, position], and what hovering shows."""
    said, probability = (
        data[name].isel(prompt=0).transpose("layer", "position", "k").values for name in ("said", "probability")
    )
    rank = data["rank"].isel(prompt=0).transpose("layer", "position").values
    text, hover = np.full(rank.shape, "", dtype=object), np.full(rank.shape, "", dtype=object)
    for cell in np.ndindex(rank.shape):
        first = labels.plain(_cut(readable(str(said[cell][0])), _ROOM // rank.shape[1]))
        text[cell] = f"<b>{first}</b>" if rank[cell] == 1 else first
        lines = [
            f"{labels.plain(readable(str(token)))} {labels.number(float(p))}"
            for token, p in zip(said[cell], probability[cell], strict=True)
        ]
        if np.isfinite(rank[cell]):
            lines.append(f"the token that comes next has rank {int(rank[cell])}")
        hover[cell] = "<br>".join(lines)
    return text.tolist(), hover.tolist()


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(1, room - 1)]}…"
