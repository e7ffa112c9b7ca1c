"""One HTML page that needs nothing but itself: headings, paragraphs, tables, commands and plotly figures."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isnan, nan
from pathlib import Path
from typing import TypeAlias

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dissect.autopsy.page_style import PAGE, STYLE
from dissect.errors import DissectError
from dissect.files import atomic_file

_INTERVAL = re.compile(r"\((\S+) to (\S+)\)")
"""An interval in a cell, which no line break parts."""


@dataclass(frozen=True)
class Table:
    """Rows under a header. Numbers stand right-aligned; floats are shown with three digits."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Lines for a shell or Python, as they are."""

    text: str


@dataclass(frozen=True)
class Drawing:
    """A figure with words under it."""

    figure: go.Figure
    caption: str = ""


@dataclass(frozen=True)
class Callout:
    """A framed headline that is seen first, with sentences and a list under it."""

    headline: str
    paragraphs: Sequence[str]
    items: Sequence[str] = ()
    kind: str = "plain"
    """Colour of the frame: ``plain``, ``good``, ``warn`` or ``bad``. The words say the same."""


@dataclass(frozen=True)
class Number:
    """A share between 0 and 1, drawn on a line, with its interval and another one to compare with."""

    label: str
    value: float
    low: float = nan
    high: float = nan
    beside: str = ""
    """Name of the value to compare with."""
    other: float = nan


@dataclass(frozen=True)
class Numbers:
    """A few numbers side by side."""

    items: Sequence[Number]


@dataclass(frozen=True)
class Details:
    """Parts that are folded up behind a line of text."""

    summary: str
    parts: Sequence["PagePart"]


PagePart: TypeAlias = str | Table | Code | Drawing | Callout | Numbers | Details | go.Figure
"""An element of a section; a string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    parts: Sequence[PagePart]


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
        title=escape(title),
        style=STYLE,
        script=f"<script>{get_plotlyjs()}</script>" if body.n_figures else "",
        lead=f'<p class="lead">{escape(lead)}</p>' if lead else "",
        contents=_contents(sections) if contents else "",
        sections=sections_html,
    )
    with atomic_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


class _Body:
    """Turns parts into HTML and numbers the figures, so that the same page is the same bytes."""

    def __init__(self) -> None:
        self.n_figures = 0

    def section(self, section: Section) -> str:
        parts = "\n".join(self.part(part) for part in section.parts)
        heading = f"<h2>{escape(section.heading)}</h2>\n" if section.heading else ""
        return f'<section id="{_anchor(section.heading)}">\n{heading}{parts}\n</section>'

    def part(self, part: PagePart) -> str:
        if isinstance(part, str):
            return f"<p>{escape(part)}</p>"
        if isinstance(part, Table):
            return _table(part)
        if isinstance(part, Code):
            return f"<pre>{escape(part.text)}</pre>"
        if isinstance(part, Drawing):
            return self.figure(part.figure, part.caption)
        if isinstance(part, Callout):
            return _callout(part)
        if isinstance(part, Numbers):
            return f'<div class="numbers">{"".join(map(_number, part.items))}</div>'
        if isinstance(part, Details):
            inner = "\n".join(self.part(each) for each in part.parts)
            return f"<details><summary>{escape(part.summary)}</summary>\n{inner}\n</details>"
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
        words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        return f"<figure>{drawn}{words}</figure>"


def _anchor(heading: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in heading.lower()).split()) or "top"


def _contents(sections: Sequence[Section]) -> str:
    links = [f'<a href="#{_anchor(s.heading)}">{escape(s.heading)}</a>' for s in sections if s.heading]
    return f"<nav>{' '.join(links)}</nav>"


def _callout(callout: Callout) -> str:
    words = "".join(f"<p>{escape(text)}</p>" for text in callout.paragraphs if text)
    items = "".join(f"<li>{escape(text)}</li>" for text in callout.items)
    listed = f"<ul>{items}</ul>" if items else ""
    kind = callout.kind if callout.kind in ("good", "warn", "bad") else "plain"
    return f'<div class="callout {kind}"><h2>{escape(callout.headline)}</h2>{words}{listed}</div>'


def _number(number: Number) -> str:
    between = "" if isnan(number.low) else f"{number.low:.0%} to {number.high:.0%}"
    beside = "" if isnan(number.other) else f"{escape(number.beside)}: {number.other:.0%}"
    marks = _mark("range", number.low, number.high) + _mark("here", number.value) + _mark("there", number.other)
    return (
        f'<div><div class="value">{number.value:.0%}</div><div class="label">{escape(number.label)}</div>'
        f'<div class="note">{between}</div><div class="scale">{marks}</div><div class="note">{beside}</div></div>'
    )


def _mark(kind: str, start: float, end: float | None = None) -> str:
    """A point or a stretch of the line from 0 to 1; what lies beyond stands at its end."""
    left, right = (min(1.0, max(0.0, value)) for value in (start, start if end is None else end))
    if isnan(start) or isnan(right):
        return ""
    width = f";width:{100 * (right - left):.1f}%" if end is not None else ""
    return f'<i class="{kind}" style="left:{100 * left:.1f}%{width}"></i>'


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.header):
            raise DissectError(f"a table of {len(table.header)} columns has a row of {len(row)}: {list(row)!r:.80}")
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in table.rows)
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    held = _INTERVAL.sub("(\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2)", shown)
    return f'<td class="number">{escape(shown)}</td>' if number else f"<td>{escape(held)}</td>"
