"""Contains: the short answer stands in what the model says."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from dissect.data.fact import Fact
from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure

KEY = "short"
"""The key of a fact that holds its short answer, or a list of short answers of which any counts."""
_UNSPACED = ("THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts without spaces between words, beside those of wide characters."""


def contains(examined: Examined) -> Estimate:
    """Share of facts whose short answer stands in the model's greedy reply; facts without one do not count.

    Raises:
        Undefined: no fact has a short answer, or they are plain texts.
    """
    short = [short_answers(fact) for fact in examined.facts]
    if not any(short):
        raise Undefined("no fact has a short answer to look for: give each one under 'short', such as 'Paris'")
    hits = [
        float(any(stands_in(text, answer.said) for text in texts)) if texts else np.nan
        for texts, answer in zip(short, examined.answers, strict=True)
    ]
    return share_of(np.array(hits))


def short_answers(fact: Fact) -> Sequence[str]:
    """The short answers of a fact; none where it has none.

    Raises:
        Undefined: something else stands there.
    """
    value = fact.extra.get(KEY, [])
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    for text in texts:
        if not isinstance(text, str) or not folded(text):
            raise Undefined(
                f"{KEY!r} of {getattr(fact, fact.kind)!r:.60} must be text or a list of texts, got {text!r:.60}"
            )
    return texts


def stands_in(short: str, reply: str) -> bool:
    """Return True if `short` stands in `reply` at word boundaries, case and accents folded.

    Both are brought to compatibility form (NFKD), combining marks are dropped, case is folded and white space counts as
    one space. A letter, digit or underscore may touch neither end of the match; an end that is punctuation, or a
    character of a script that writes no spaces between words, needs no boundary.

    Example:
        >>> stands_in("São Paulo", "It is SAO PAULO, I think."), stands_in("Rome", "Romeo")
        (True, False)
    """
    wanted = folded(short)
    if not wanted:
        return False
    before = r"(?<!\w)" if _bounded(short.strip()[0]) else ""
    after = r"(?!\w)" if _bounded(short.strip()[-1]) else ""
    return re.search(before + re.escape(wanted) + after, folded(reply)) is not None


def folded(text: str) -> str:
    """A text without accents, case and runs of white space."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(bare.casefold().split())


def _bounded(character: str) -> bool:
    """Return True if a word that ends in this character has a boundary there."""
    wide = unicodedata.east_asian_width(character) == "W"
    spaceless = unicodedata.name(character, "").startswith(_UNSPACED)
    return (character.isalnum() or character == "_") and not (wide or spaceless)


MEASURE = Measure(
    name="contains",
    label="contains the short answer",
    definition=(
        "share of facts whose short answer ('short', any of several) stands in the model's greedy reply at word "
        "boundaries: case, accents (NFKD without combining marks) and white space folded; facts without one do not "
        "count"
    ),
    family="behaviour",
    compute=contains,
    knows="high",
)
