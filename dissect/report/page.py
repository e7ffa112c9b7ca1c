"""One HTML page that needs nothing but itself: headings, paragraphs, tables, commands and plotly figures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dissect.errors import DissectError
from dissect.files import atomic_file


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


Part: TypeAlias = str | Table | Code | Drawing | go.Figure
"""What a section is made of; a string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    parts: Sequence[Part]


def page(
    title: str, sections: Sequence[Section], path: str | os.PathLike[str], *, lead: str = "", footer: str = ""
) -> Path:
    """Write the page; an existing file is replaced whole or not at all.

    All text is escaped. plotly.js (about 5 MB) is embedded once, and only if there is a figure; nothing is fetched. The
    page follows the reader's light or dark setting and prints without cutting figures or tables in two.

    Args:
        title: of the page and the browser's tab.
        sections: in order.
        path: ends in ``.html``.
        lead: a paragraph under the title.
        footer: for instance versions and seed.

    Raises:
        DissectError: another suffix, or a table whose rows do not fit its header.
    """
    file = Path(path)
    if file.suffix.lower() != ".html":
        raise DissectError(f"cannot write a page to {file.name!r}: use a name that ends in .html")
    body = _Body()
    sections_html = "\n".join(body.section(section) for section in sections)
    text = _PAGE.format(
        title=escape(title),
        style=_STYLE,
        script=f"<script>{get_plotlyjs()}</script>" if body.n_figures else "",
        lead=f'<p class="lead">{escape(lead)}</p>' if lead else "",
        sections=sections_html,
        footer=f"<footer>{escape(footer)}</footer>" if footer else "",
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
        return f"<section>\n<h2>{escape(section.heading)}</h2>\n{parts}\n</section>"

    def part(self, part: Part) -> str:
        if isinstance(part, str):
            return f"<p>{escape(part)}</p>"
        if isinstance(part, Table):
            return _table(part)
        if isinstance(part, Code):
            return f"<pre>{escape(part.text)}</pre>"
        if isinstance(part, Drawing):
            return self.figure(part.figure, part.caption)
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
    return f'<td class="number">{escape(shown)}</td>' if number else f"<td>{escape(shown)}</td>"


_STYLE = """
:root { color-scheme: light dark;
  --ink: #1d1d1f; --quiet: #636369; --ground: #ffffff; --line: #d9d9de; --soft: #f4f4f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --quiet: #a0a0a8; --ground: #17181b; --line: #3a3b41; --soft: #222328; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.6rem 0 .6rem; }
p { max-width: 44rem; margin: .6rem 0; overflow-wrap: anywhere; white-space: pre-line; }
.lead { font-size: 1.12rem; color: var(--quiet); }
figure { margin: 1.2rem 0; padding: .5rem; background: #fff; border: 1px solid var(--line); border-radius: 6px;
  overflow-x: auto; }
figure > div { min-width: 42rem; }
figcaption { color: #55555c; font-size: .9rem; padding: .3rem .6rem; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .94rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; border-bottom-width: 2px; }
td.number { text-align: right; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto;
  font: .9rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet);
  font-size: .88rem; }
@media print {
  :root { --ink: #000; --quiet: #444; --ground: #fff; --line: #bbb; --soft: #fff; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  figure, table, pre { break-inside: avoid; }
  figure > div { min-width: 0; }
  h2 { break-after: avoid; }
  .modebar { display: none; }
}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
{script}
</head>
<body>
<h1>{title}</h1>
{lead}
{sections}
{footer}
</body>
</html>
"""
