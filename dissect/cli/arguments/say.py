"""The one place through which commands write to a terminal."""

import logging

import typer

from dissect.visible import visible


def say(text: object, *, err: bool = False) -> None:
    """Write a line, or several; nothing in it acts on the terminal, wherever it comes from."""
    typer.echo(visible(str(text)), err=err)


class VisibleFormatter(logging.Formatter):
    """Log lines in which nothing acts on the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return visible(super().format(record))
