"""Tables and the panel of attacks as HTML."""

import re
from itertools import groupby
from math import isfinite
from typing import Any

from dissect.autopsy.page_parts import Panel, PanelRow, Table
from dissect.autopsy.picker.embed import plain
from dissect.errors import DissectError

_INTERVAL = re.compile(r"\((\S+) to (\S+)\)")
"""An interval in a cell, which no line break parts."""
CHANCE = 0.5


def table_html(table: Table) -> str:
    """Return a table in a frame that scrolls sideways.

    Raises:
        DissectError: a row that does not fit the header.
    """
    for row in table.rows:
        if len(row) != len(table.header):
            raise DissectError(f"a table of {len(table.header)} columns has a row of {len(row)}: {list(row)!r:.80}")
    header = table.header[1:] if table.grouped else table.header
    head = "".join(f'<th scope="col">{plain(name)}</th>' for name in header)
    body = ""
    if table.grouped:
        for name, rows in groupby(table.rows, key=lambda row: row[0]):
            group = f'<tr class="group"><th colspan="{len(header)}" scope="rowgroup">{plain(str(name))}</th></tr>\n'
            body += group + "".join(_row(row[1:], header, table.stacked) for row in rows)
    else:
        body = "".join(_row(row, header, table.stacked) for row in table.rows)
    caption = f"<caption>{plain(table.caption)}</caption>" if table.caption else ""
    kind = ' class="stacked"' if table.stacked else ""
    return (
        f'<div class="table"><table{kind}>{caption}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def _row(row: Any, header: Any, stacked: bool) -> str:
    cells = (_cell(value, name if stacked else "") for value, name in zip(row, header, strict=True))
    return "<tr>" + "".join(cells) + "</tr>\n"


def _cell(value: object, name: str) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    held = _INTERVAL.sub("(\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2)", shown)
    label = f' data-label="{plain(name)}"' if name else ""
    return f'<td class="number"{label}>{plain(shown)}</td>' if number else f"<td{label}>{plain(held)}</td>"


def panel_html(panel: Panel) -> str:
    """Return the panel: a line an attack, with its label above it where the page is narrow."""
    names = list(dict.fromkeys(mark[0] for row in panel.rows for mark in row.marks))
    key = "".join(f'<span><i class="dot of-{plain(name)}"></i>{plain(name)}</span>' for name in names)
    key += '<span><i class="chance"></i>chance (0.5)</span><span><i class="known"></i>base, as asked</span>'
    rows = "".join(_line(row, panel.known) for row in panel.rows)
    ends = (
        '<div class="row ends"><span></span><div class="ends"><span>0: avoids the right answer</span>'
        "<span>1: knows it</span></div><span></span></div>"
    )
    caption = f'<p class="hint">{plain(panel.caption)}</p>' if panel.caption else ""
    return f'<div class="panel"><div class="key">{key}</div>{rows}{ends}</div>{caption}'


def _line(row: PanelRow, known: float) -> str:
    marks = (
        f'<i class="chance" style="left:{100 * CHANCE:.1f}%"></i><i class="known" style="left:{100 * known:.1f}%"></i>'
    )
    words = []
    for name, value, low, high in reversed(row.marks):
        if isfinite(low) and isfinite(high):
            marks += (
                f'<i class="span of-{plain(name)}" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
            )
        marks += f'<i class="dot of-{plain(name)}" style="left:{100 * value:.1f}%"></i>'
        words.append(f"{name} {value:.2f} ({low:.2f} to {high:.2f})")
    text = plain("; ".join(reversed(words)))
    return (
        f'<div class="row"><span>{plain(row.label)}</span><div class="line" role="img" aria-label="{text}" '
        f'title="{text}">{marks}</div><span>{row.marks[0][1]:.2f}</span></div>'
    )
