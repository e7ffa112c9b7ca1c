"""The parts of a page: headings, paragraphs, tables, commands, figures, and what scripts draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, TypeAlias

import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """Rows under a header. Numbers stand right-aligned; floats are shown with three digits."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    grouped: bool = False
    """Rows that begin alike stand under one heading, in place of the first column."""
    stacked: bool = False
    """On a phone a row is a list of its cells: for columns of long texts."""


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


@dataclass(frozen=True)
class Widget:
    """A part that a script of the package draws from its data; see `dissect.autopsy.picker.embed`."""

    kind: str
    data: Any


@dataclass(frozen=True)
class PanelRow:
    """One line of a `Panel`: an attack, and the forced choice of each model with its interval."""

    label: str
    marks: Sequence[tuple[str, float, float, float]]
    """Model, value, low, high; the first model's value is written beside the line."""


@dataclass(frozen=True)
class Panel:
    """Forced choice by attack, on lines from 0 to 1, beside chance and the base model; legible on a phone."""

    rows: Sequence[PanelRow]
    known: float
    """Of the base model, as asked."""
    caption: str = ""


PagePart: TypeAlias = str | Table | Code | Drawing | Callout | Numbers | Details | Widget | Panel | go.Figure
"""An element of a section; a string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    parts: Sequence[PagePart]
    question: str = ""
    """The reader's question that it helps to answer; sections of one question follow each other under it."""
