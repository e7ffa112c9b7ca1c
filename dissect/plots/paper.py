"""Figures in the size of a paper: a column or a text width, with type as large as the paper's own."""

from typing import Any

import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.plots import style

WIDTHS = {"column": 3.25, "text": 6.75}
"""Inches: a column of a two-column page, and its text block (the measures of ACL, NeurIPS and ICML are within 5 %)."""
_PER_INCH = 96
"""Pixels of a .svg or .pdf in an inch; a point has 4/3 of them."""
_BODY, _SMALL = 8 * 4 / 3, 7 * 4 / 3
"""Type of 8 and of 7 points, in pixels."""
_LINES, _MARKERS, _TALLER, _LOWEST = 0.7, 0.6, 1.3, 120
"""Thinner lines and smaller markers; a figure that is made narrow keeps more of its height, and so many pixels."""
_ROW = 19
"""Pixels of a row of the legend."""
_LETTER = 0.56
"""Width of a letter by its height, on average."""


def for_paper(figure: Any, width: str | int | float = "column", *, title: bool = False) -> go.Figure:
    """The figure made for print: so wide, type of 7 and 8 points, the legend below, title and note left out.

    Text in cells that would run into each other is left out: draw fewer columns, or give more width. What the title and
    the note say belongs into the paper's own caption. Write it with
    ``plots.write(plots.for_paper(figure), "figure.pdf")``; a ``.pdf`` then has exactly that width. The figure that is
    given stays as it is.

    Args:
        width: ``column`` (3.25 inches), ``text`` (6.75 inches), or inches.
        title: keep the title.

    Raises:
        DissectError: another name, or a width below 1.
    """
    if not isinstance(figure, go.Figure):
        raise DissectError(f"a plotly figure is needed, got {type(figure).__name__}: give what dissect.plots draws")
    inches = WIDTHS.get(width) if isinstance(width, str) else width
    if isinstance(inches, bool) or not isinstance(inches, (int, float)) or not inches >= 1:
        raise DissectError(f"width={width!r}: give {', '.join(WIDTHS)} or a number of inches from 1 on, such as 5.5")
    made, pixels = go.Figure(figure), round(inches * _PER_INCH)
    old, margin = made.layout, made.layout.margin
    narrower = pixels / (old.width or style.WIDTH)
    inner = (
        (old.height or style.HEIGHT) - (80 if margin.t is None else margin.t) - (80 if margin.b is None else margin.b)
    )
    inner = max(_LOWEST, inner * min(1.0, narrower * _TALLER), 1.5 * _SMALL * _n_rows(made))
    made.layout.annotations = [note for note in old.annotations if note.name != "caption"]
    rows = _legend_rows(made, pixels)
    top = (30 if title and old.title.text else 6) + (14 if made.layout.annotations else 0)
    bottom = 42 + round(_ROW * rows)
    made.update_layout(
        width=pixels,
        height=round(inner + top + bottom),
        margin={
            "l": 46,
            "r": 8 + max(0, round(0.95 * ((80 if margin.r is None else margin.r) - 30))),
            "t": top,
            "b": bottom,
        },
        font={"size": _BODY},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -38 / inner,
            "yanchor": "top",
            "font": {"size": _SMALL},
            "itemwidth": 30,
            "tracegroupgap": 0,
            "maxheight": 2000,
        },
        title={"text": old.title.text if title else None, "font": {"size": _BODY}},
    )
    axis: dict[str, Any] = {
        "title": {"font": {"size": _BODY}, "standoff": 4},
        "tickfont": {"size": _SMALL},
        "automargin": True,
    }
    made.update_xaxes(**axis).update_yaxes(**axis)
    for note in made.layout.annotations:
        note.font.size = _SMALL
    if made.layout.coloraxis.colorscale is not None:
        name = (made.layout.coloraxis.colorbar.title.text or "").split(", ")[0]  # what follows is for a caption
        bar = {"thickness": 7, "lenmode": "fraction", "len": 1.0, "y": 0.5, "yanchor": "middle"}
        bar |= {"tickfont": {"size": _SMALL}, "title": {"text": name, "font": {"size": _SMALL}}}
        made.update_layout(coloraxis={"colorbar": bar})
    for trace in made.data:
        _thinner(trace, pixels)
    return made


def _thinner(trace: Any, pixels: int) -> None:
    if trace.type == "heatmap":
        trace.update(textfont={"size": 0.85 * _SMALL}, xgap=0.5, ygap=0.5)
        names = max((len(str(name)) for name in trace.y), default=0) * _LETTER * _SMALL
        if (pixels - names - 110) / max(1, len(trace.x)) < 0.85 * _SMALL * _LETTER * 7:
            trace.texttemplate = None  # numbers would run into each other
    for part in ("line", "marker"):
        held = getattr(trace, part, None) if part in trace else None
        size, scale = ("width", _LINES) if part == "line" else ("size", _MARKERS)
        if held is not None and isinstance(held[size], (int, float)):
            held[size] *= scale


def _n_rows(figure: go.Figure) -> int:
    """Rows that have names on a vertical axis, the most of all."""
    named = [trace.y for trace in figure.data if trace.y is not None and len(trace.y) and isinstance(trace.y[0], str)]
    return max((len(dict.fromkeys(rows)) for rows in named), default=0)


def _legend_rows(figure: go.Figure, pixels: int) -> int:
    """Rows of a legend of that width, roughly: its entries stand in columns as wide as the longest."""
    names = [trace.name or "" for trace in figure.data if trace.showlegend is not False and trace.name]
    if not names or figure.layout.showlegend is False or len(names) < 2:
        return 0
    each = 46 + _LETTER * _SMALL * max(map(len, names))
    return -(-len(names) // max(1, int((pixels - 50) // each)))
