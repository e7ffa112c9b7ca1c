"""The look of all figures, in one place: palette, template, notes. Handed to each figure, never set globally."""

from collections.abc import Iterable

import plotly.graph_objects as go

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which people with any common colour blindness tell apart (without the yellow, too light
for lines on white). Curves differ by dash and marker as well, for greyscale prints."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star")
CONTROLS = {
    "identity": ("dot", "x"),
    "shuffled": ("dashdot", "cross"),
    "random": ("longdash", "hexagon"),
    "single layers": ("dash", "hourglass"),
    "noise": ("longdashdot", "diamond-tall"),
    "retrained": ("1px,6px", "bowtie"),
}
"""Dash and marker of each kind of control: the same in all figures, no two alike."""

DIVERGING = ("#7f3b08", "#b35806", "#e08214", "#fdb863", "#f7f7f7", "#92c5de", "#4393c3", "#2166ac", "#053061")
"""Brown-orange below 0, grey-white at 0, blue above: two hues that no common colour blindness confuses."""
SEQUENTIAL = ("#ffffff", "#d5e5f2", "#a6c9e2", "#6ba6cf", "#3a80b6", "#165b96", "#053061")
UNDEFINED = "#d4d4d4"
"""Colour of cells without a value."""

INK, MUTED, GRID = "#222222", "#666666", "#ececec"
_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
HEIGHT, WIDTH = 500, 860
"""Pixels. The width is that of images; in a browser a figure fills its place."""
NARROWEST = 672
"""Pixels: no page draws a figure narrower (42 rem in the style sheets of the report and of the documentation)."""
_LEGEND_ROW, _LEGEND_KEY, _LETTER = 29, 55, 6.6
"""Pixels of a legend: the height of a row whose entries are groups, what stands beside a name, and a letter. The last
two are those of DejaVu Sans, rounded up: of the fonts that a machine may have to draw with it is the widest."""


def template() -> go.layout.Template:
    """White ground, axis lines, a light grid, one sans-serif family."""
    line = {
        "showline": True,
        "linecolor": INK,
        "ticks": "outside",
        "tickcolor": INK,
        "gridcolor": GRID,
        "zeroline": False,
    }
    return go.layout.Template(
        layout={
            "font": {"family": _FONT, "size": 13, "color": INK},
            "title": {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yanchor": "top",
                "pad": {"t": 16},
                "font": {"size": 16},
            },
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "xaxis": line | {"showgrid": False, "title": {"standoff": 8, "font": {"size": 13}}},
            "yaxis": line | {"title": {"standoff": 8, "font": {"size": 13}}},
            "hoverlabel": {"align": "left", "font": {"family": _FONT, "size": 12}},
            "legend": {"bgcolor": "rgba(255,255,255,0)", "font": {"size": 12}},
            "colorway": list(PALETTE),
        }
    )


def headed(figure: go.Figure, title: str, subtitle: str) -> go.Figure:
    """Give the figure the template, a title and a quieter line below it."""
    quiet = f'<br><span style="font-size:12.5px;color:{MUTED}">{subtitle}</span>' if subtitle else ""
    return figure.update_layout(template=template(), title={"text": title + quiet, "pad": {"t": 30 if quiet else 16}})


def legend_height(names: Iterable[str], *, beside: int) -> int:
    """Pixels that a legend in rows takes at most: in the narrowest figure, of which margins take ``beside`` pixels."""
    rows, used = 0, float("inf")
    for name in names:
        width = _LEGEND_KEY + _LETTER * len(name)
        rows, used = (rows + 1, width) if used + width > NARROWEST - beside else (rows, used + width)
    return _LEGEND_ROW * rows


def captioned(figure: go.Figure, text: str, *, below: int) -> go.Figure:
    """Put a note under the figure, ``below`` pixels under the axis, and make room for it."""
    lines = text.count("<br>") + 1 if text else 0
    figure.update_layout(margin={"b": below + 10 + 16 * lines})
    return figure.add_annotation(
        name="caption",
        text=text,
        x=0,
        xref="paper",
        xanchor="left",
        y=0,
        yref="paper",
        yanchor="top",
        yshift=-below,
        align="left",
        showarrow=False,
        font={"size": 11.5, "color": MUTED},
    )


def translucent(colour: str, alpha: float) -> str:
    """``#rrggbb`` as ``rgba(...)``."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
