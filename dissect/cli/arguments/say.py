"""Everything that the command line prints: whatever files and paths hold, a terminal obeys none of it."""

import logging
import re

import typer

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")
"""Control characters but for tab and new line, marks that turn the direction of text, and halves of characters."""


def harmless(text: str) -> str:
    r"""``text`` with the characters that a terminal obeys written out.

    >>> harmless("\x1b[2Jgone")
    '\\x1b[2Jgone'
    >>> harmless("left \u202e right")
    'left \\u202e right'
    """
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def say(text: object, *, err: bool = False) -> None:
    """Print a line, or several."""
    typer.echo(harmless(str(text)), err=err)


class HarmlessFormatter(logging.Formatter):
    """Writes records of the log so that a terminal obeys none of them."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line."""
        return harmless(super().format(record))
