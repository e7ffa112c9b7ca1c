"""Rows of text as a table, in a file that needs no results and so imports nothing."""

from collections.abc import Sequence

from dissect.visible import visible


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns; a cell is one line, whatever it holds."""
    rows = [[visible(cell, lines=False) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
