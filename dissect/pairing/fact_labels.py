"""When two answers are one, and texts with another subject in them."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from dissect.data.variants import CLOSING

SUBJECT = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the subject in an answer that names it."""
_TELLING = 4
"""A part of a name of at least so many letters gives its owner away."""


def label(text: str) -> str:
    """The form in which answers are compared: case, spaces and closing punctuation do not tell them apart."""
    return " ".join(text.split()).rstrip(CLOSING).casefold()


def alike(first: str, second: str) -> bool:
    """True where two labels are equal, or one is the beginning of the other, word by word: then neither is a foil."""
    shorter, longer = sorted((first, second), key=len)
    return longer == shorter or longer.startswith(shorter + " ")


def unlike(labels: Sequence[str]) -> Bool[np.ndarray, "label label"]:
    """True where two labels are foils of each other."""
    return np.array([[not alike(first, second) for second in labels] for first in labels], dtype=bool)


def with_subject(text: str, old: str, new: str) -> str:
    """``text`` with ``new`` wherever ``old`` stands as whole words."""
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text) if old else text


def names(text: str, subject: str) -> bool:
    """True where ``text`` holds the subject as whole words."""
    return bool(subject) and re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", text) is not None


def gives_away(text: str, subject: str) -> bool:
    """True where a longer word of the subject stands in ``text``, from which the subject had been taken out."""
    words = {word.casefold() for word in re.findall(r"\w+", text)}
    return any(part.casefold() in words for part in re.findall(r"\w+", subject) if len(part) >= _TELLING)
