"""One HTML page that needs nothing but itself: headings, paragraphs, tables, commands and plotly figures."""

import os
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dissect.autopsy.page_drawing import panel_html, table_html
from dissect.autopsy.page_parts import (
    Callout,
    Code,
    Details,
    Drawing,
    Number,
    Numbers,
    PagePart,
    Panel,
    PanelRow,
    Section,
    Table,
    Widget,
)
from dissect.autopsy.page_style import PAGE, STYLE
from dissect.autopsy.picker.embed import plain, scripts, web, widget
from dissect.errors import DissectError
from dissect.files import atomic_file

__all__ = [
    "Callout",
    "Code",
    "Details",
    "Drawing",
    "Number",
    "Numbers",
    "PagePart",
    "Panel",
    "PanelRow",
    "Section",
    "Table",
    "Widget",
    "page",
]


def page(
    title: str,
    sections: Sequence[Section],
    path: str | os.PathLike[str],
    *,
    lead: str = "",
    contents: bool = False,
) -> Path:
    """Write the page; an existing file is replaced whole or not at all.

    All text is escaped. plotly.js (about 5 MB) is embedded once, and only if there is a figure; nothing is fetched. The
    page follows the reader's light or dark setting and prints without cutting figures or tables in two.

    Args:
        title: of the page and the browser's tab.
        sections: in order.
        path: ends in ``.html``.
        lead: a paragraph under the title.
        contents: put links to the sections under the lead; those without a heading have none.

    Raises:
        DissectError: another suffix, or a table whose rows do not fit its header.
    """
    file = Path(path)
    if file.suffix.lower() != ".html":
        raise DissectError(f"cannot write a page to {file.name!r}: use a name that ends in .html")
    body = _Body()
    sections_html = "\n".join(body.section(section) for section in sections)
    text = PAGE.format(
        title=plain(title),
        style=STYLE + (web("widgets.css") if body.widgets else ""),
        script=f"<script>{get_plotlyjs()}</script>" if body.n_figures else "",
        lead=f'<p class="lead">{plain(lead)}</p>' if lead else "",
        contents=_contents(sections) if contents else "",
        sections=sections_html,
        widgets=scripts(list(body.widgets)) if body.widgets else "",
    )
    with atomic_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


class _Body:
    """Turns parts into HTML and numbers the figures, so that the same page is the same bytes."""

    def __init__(self) -> None:
        self.n_figures = 0
        self.widgets: dict[str, None] = {}
        self._question = ""

    def section(self, section: Section) -> str:
        parts = "\n".join(self.part(part) for part in section.parts)
        level = "h3" if section.question else "h2"
        heading = f"<{level}>{plain(section.heading)}</{level}>\n" if section.heading else ""
        question = ""
        if section.question and section.question != self._question:
            question = f'<h2 class="question" id="{_anchor(section.question)}">{plain(section.question)}</h2>\n'
        self._question = section.question
        return f'{question}<section id="{_anchor(section.heading)}">\n{heading}{parts}\n</section>'

    def part(self, part: PagePart) -> str:
        if isinstance(part, str):
            return f"<p>{plain(part)}</p>"
        if isinstance(part, Table):
            return table_html(part)
        if isinstance(part, Code):
            return f"<pre>{plain(part.text)}</pre>"
        if isinstance(part, Drawing):
            return self.figure(part.figure, part.caption)
        if isinstance(part, Callout):
            return _callout(part)
        if isinstance(part, Numbers):
            return f'<div class="numbers">{"".join(map(_number, part.items))}</div>'
        if isinstance(part, Panel):
            return panel_html(part)
        if isinstance(part, Widget):
            self.widgets[part.kind] = None
            return widget(part.kind, part.data)
        if isinstance(part, Details):
            inner = "\n".join(self.part(each) for each in part.parts)
            return f"<details><summary>{plain(part.summary)}</summary>\n{inner}\n</details>"
        return self.figure(part, "")

    def figure(self, figure: go.Figure, caption: str) -> str:
        self.n_figures += 1
        drawn = figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"figure-{self.n_figures}",
            config={
                "responsive": True,
                "displayModeBar": False,
                "displaylogo": False,
                "toImageButtonOptions": {"format": "svg"},
            },
        )
        words = f"<figcaption>{plain(caption)}</figcaption>" if caption else ""
        return f"<figure>{drawn}{words}</figure>"


def _anchor(heading: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in heading.lower()).split()) or "top"


def _contents(sections: Sequence[Section]) -> str:
    names = dict.fromkeys(s.question or s.heading for s in sections)
    links = [f'<a href="#{_anchor(name)}">{plain(name)}</a>' for name in names if name]
    return f"<nav>{' '.join(links)}</nav>"


def _callout(callout: Callout) -> str:
    words = "".join(f"<p>{plain(text)}</p>" for text in callout.paragraphs if text)
    items = "".join(f"<li>{plain(text)}</li>" for text in callout.items)
    listed = f"<ul>{items}</ul>" if items else ""
    kind = callout.kind if callout.kind in ("good", "warn", "bad") else "plain"
    return f'<div class="callout {kind}"><h2>{plain(callout.headline)}</h2>{words}{listed}</div>'


def _number(number: Number) -> str:
    between = "" if isnan(number.low) else f"{number.low:.0%} to {number.high:.0%}"
    beside = "" if isnan(number.other) else f"{plain(number.beside)}: {number.other:.0%}"
    marks = _mark("range", number.low, number.high) + _mark("here", number.value) + _mark("there", number.other)
    return (
        f'<div><div class="value">{number.value:.0%}</div><div class="label">{plain(number.label)}</div>'
        f'<div class="note">{between}</div><div class="scale">{marks}</div><div class="note">{beside}</div></div>'
    )


def _mark(kind: str, start: float, end: float | None = None) -> str:
    """A point or a stretch of the line from 0 to 1; what lies beyond stands at its end."""
    left, right = (min(1.0, max(0.0, value)) for value in (start, start if end is None else end))
    if isnan(start) or isnan(right):
        return ""
    width = f";width:{100 * (right - left):.1f}%" if end is not None else ""
    return f'<i class="{kind}" style="left:{100 * left:.1f}%{width}"></i>'
