"""The verdict: from measured shares to words, by the rule that docs/verdict.md states and defends.

Nothing is measured here. Every number is a share with an interval, and a sign counts only where its whole interval lies
on one side of the line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dissect.autopsy.shares import Evidence, Share, most_said
from dissect.autopsy.signs import WEAK, Sign, signs_of

Kind = Literal["not forgotten", "suppressed", "erased", "broken", "undecided", "no question"]

KNOWN = 0.5
"""The base model must know so many of the forget facts for there to be a question."""
SAID = 0.5
"""Whoever still says so large a share of what the base model says has not forgotten."""
KEPT = 0.5
"""Whoever keeps less than this share of what was to be kept is broken."""
PERPLEXITY = 3.0
"""Whose perplexity on plain texts rose by more than this factor is broken."""


@dataclass(frozen=True)
class Verdict:
    """What is said at the top of the page."""

    kind: Kind
    headline: str
    words: str
    """One or two sentences with the numbers."""
    sure: str
    """How sure, and why."""
    signs: Sequence[Sign] = ()


def verdict(found: Evidence) -> Verdict:
    """Apply the rule."""
    if found.known is not None and not found.known.value >= KNOWN:
        words = f"The base model itself answers only {found.known} of what was to be forgotten."
        if (said := most_said(found)) is not None and said[1].above(1.0):
            words += " The unlearned model answers more of it: are the two swapped?"
        return Verdict("no question", "No verdict: there was nothing to forget", words, "")
    most = most_said(found)
    if found.known is None or most is None:
        return Verdict("no question", "No verdict", "What the models answer was not measured.", "")
    signs = signs_of(found)
    if _broken(found):
        return Verdict("broken", "Broken", _broken_words(found, most), _broken_sure(found, signs), signs)
    left = {wording: share for wording, share in found.said.items() if not share.below(SAID)}
    if left:
        wording, share = max(left.items(), key=lambda item: item[1].value)
        words = f"Of what the base model answers, the unlearned model still answers {share} ({wording})."
        sure = "The interval lies above one half." if share.above(SAID) else "The interval crosses one half."
        return Verdict("not forgotten", "Not forgotten", words, sure, signs)
    return _forgotten(found, most, signs)


def _forgotten(found: Evidence, most: tuple[str, Share], signs: Sequence[Sign]) -> Verdict:
    strong = [sign for sign in signs if sign.side != "unclear" and sign.name != WEAK]
    decisive = strong or [sign for sign in signs if sign.side != "unclear"]
    sides = [sign.side for sign in decisive]
    wording, share = most
    asked = wording if len(found.said) == 1 else f"{wording}, where it answers most"
    said = f"It answers {share} of what the base model answers about what was to be forgotten ({asked})"
    said += f", and keeps {found.kept} of the rest. " if found.kept is not None else ". "
    place = f" {found.place}" if found.place else ""
    if not sides:
        words = said + "Whether the knowledge is gone or only no longer read out, the measurements do not decide."
        return Verdict("undecided", "Forgotten, depth undecided", words + place, _sure(signs, "undecided"), signs)
    if "suppressed" in sides and "erased" in sides:
        words = said + "The evidence on what is left disagrees, and both readings are given below."
        return Verdict(
            "undecided", "Forgotten, the evidence disagrees", words + place, _sure(signs, "undecided"), signs
        )
    if sides[0] == "suppressed":
        words = said + "What it was to forget is still in it, and is only no longer read out."
        return Verdict("suppressed", "Suppressed, not erased", words + place, _sure(signs, "suppressed"), signs)
    if found.kept is None:
        return Verdict("undecided", "Forgotten, or damaged", said + _UNKEPT + place, _sure(signs, "undecided"), signs)
    words = (
        said + "What it was to forget is not found in it any more: " + _listed([_GONE[s.name] for s in decisive]) + "."
    )
    return Verdict("erased", "Erased", words + place, _sure(signs, "erased"), signs)


_UNKEPT = (
    "No sign of it is found in the model, but what was to be kept was not measured: this may be damage as well as "
    "forgetting."
)
_GONE = {
    "depth": "its states do not give the answers back",
    "relearning": "relearning other facts does not bring them back",
    WEAK: "the value vectors themselves were changed",
}
"""What each sign of erasure says."""


def _broken(found: Evidence) -> bool:
    lost = found.kept is not None and found.kept.below(KEPT)
    return lost or (found.perplexity is not None and found.perplexity > PERPLEXITY)


def _broken_words(found: Evidence, most: tuple[str, Share]) -> str:
    parts = []
    if found.kept is not None:
        parts.append(f"of what was to be kept, it answers {found.kept} of what the base model does")
    if found.perplexity is not None and found.perplexity > PERPLEXITY:
        parts.append(f"its perplexity on plain texts is {found.perplexity:.3g} times the base model's")
    text = " and ".join(parts)
    left = f"of what was to be forgotten, {most[1]} ({most[0]})"
    return f"{text[0].upper()}{text[1:]}; {left}. This is damage, not selective forgetting."


def _broken_sure(found: Evidence, signs: Sequence[Sign]) -> str:
    left = [sign for sign in signs if sign.side == "suppressed"]
    if not left:
        return "What depth and relearning say of a broken model is not about the forgotten facts alone."
    return "Broken does not mean erased: " + " ".join(sign.words for sign in left)


def _sure(signs: Sequence[Sign], kind: str) -> str:
    """How many independent signs say so, and what is missing."""
    agree = [sign.name for sign in signs if sign.side == kind]
    unclear = [sign.name for sign in signs if sign.side == "unclear"]
    absent = [name for name in ("depth", "relearning") if name not in [sign.name for sign in signs]]
    if kind == "undecided":
        text = "Not sure."
    elif {"depth", "relearning"} <= set(agree):
        text = "Fairly sure: depth and relearning, which fail in different ways, agree."
    elif agree == [WEAK]:
        text = "Hardly sure: restoration alone says so."
    else:
        text = f"Moderately sure: {_listed(agree)} say{'s' if len(agree) == 1 else ''} so."
    against = [sign.name for sign in signs if sign.side not in (kind, "unclear")]
    if against and kind != "undecided":
        text += f" {_listed(against).capitalize()} point{'s' if len(against) == 1 else ''} the other way."
    if unclear:
        text += f" {_listed(unclear).capitalize()} {'does' if len(unclear) == 1 else 'do'} not decide it here."
    if absent:
        text += f" {_listed(absent).capitalize()} {'was' if len(absent) == 1 else 'were'} not measured."
    return text


def _listed(names: Sequence[str]) -> str:
    """``depth, relearning and restoration``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
