"""Sentences in place of a missing result, or of one with nothing to draw."""

from collections.abc import Callable

import plotly.graph_objects as go

from dissect.autopsy.page import Drawing
from dissect.autopsy.results import Results
from dissect.errors import DissectError


def absent(results: Results, step: str, what: str) -> str:
    """A sentence on why there is nothing to show."""
    reason = results.missing.get(step, "it was not computed").rstrip(".")
    return f"{what} {'are' if what.endswith('s') else 'is'} missing here: {reason}."


def drawn(make: Callable[[], go.Figure], caption: str) -> Drawing | str:
    """The figure, or a sentence on why there is none: two equal models leave nothing to draw."""
    try:
        return Drawing(make(), caption)
    except DissectError as error:
        return f"{caption.rstrip('.')}: {error}."
