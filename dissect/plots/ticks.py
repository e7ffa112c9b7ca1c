"""Labels of the cells of a heatmap's axis."""

from html import escape
from itertools import takewhile

import xarray as xr

from dissect.plots import labels

PANELS = ("component", "block")
"""Dimensions whose mean says nothing: off the axes, each gets a panel of its own."""


def ticks(data: xr.Dataset, coordinate: xr.DataArray) -> list[str]:
    """Return the labels of the cells of an axis: components by their letters, prompts with their text."""
    dim, values = str(coordinate.name), coordinate.values.tolist()
    if dim in PANELS:
        return [labels.component(str(value)) for value in values]
    if dim == "prompt" and "prompt_text" in data.coords:
        texts = data[asked_in(data)].sel(prompt=values).values
        return _prompts(values, [" ".join(str(text).split()) for text in texts])
    if dim == "position" and "token" in data and data.sizes["prompt"] == 1:
        return [_token(offset, str(data["token"].sel(position=offset).values[0])) for offset in values]
    return [escape(str(value), quote=False) for value in values]


def asked_in(data: xr.Dataset) -> str:
    """The coordinate with what was asked: the questions, or in files of earlier versions the whole prompts."""
    return "question" if "question" in data.coords else "prompt_text"


_TOKEN = 14
"""Letters of a token that are shown on an axis."""
_SPACE, _LINE = ("\u0120", "\u2581"), ("\u010a", "\n")
"""Characters with which tokenizers write a space and the end of a line."""


def readable(token: str) -> str:
    """A token as it is read in a text, without the space before it."""
    for written in _SPACE:
        token = token.replace(written, " ")
    for written in _LINE:
        token = token.replace(written, "\\n")
    return token.strip() or token


def _token(offset: int, token: str) -> str:
    """A token with its offset, which tells equal ones apart; bold where it belongs to the answer."""
    shown = readable(token)
    short = shown if len(shown) <= _TOKEN else f"{shown[: _TOKEN - 1]}…"  # longer ones would run into the axis title
    text = escape(f"{short} ({offset})", quote=False)
    return f"<b>{text}</b>" if offset >= 0 else text


def _prompts(numbers: list, texts: list[str], width: int = 42) -> list[str]:
    """Number and beginning of each prompt, without the words of the template that all share at either end."""
    words = [text.split() for text in texts]
    start, end = _shared(words), _shared([line[::-1] for line in words])
    short = [" ".join(line[start : len(line) - end]) for line in words]
    short = [text if len(text) <= width else text[: width - 1] + "…" for text in short]
    return [escape(f"{number}: {text}", quote=False) for number, text in zip(numbers, short, strict=True)]


def _shared(lines: list[list[str]]) -> int:
    """Return the number of leading words that all lines have in common, though never a whole line."""
    if len(lines) < 2:
        return 0
    same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*lines, strict=False)))
    return same if same < min(map(len, lines)) else 0
