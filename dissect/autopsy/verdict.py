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
"""Share of the forget facts that the base model must know for there to be a question."""
SAID = 0.5
"""A model that still gives this share of the base model's answers has not forgotten."""
KEPT = 0.5
"""A model that answers less than this share of the retain facts is broken."""
PERPLEXITY = 3.0
"""A model whose perplexity on plain texts rose by more than this factor is broken."""


@dataclass(frozen=True)
class Verdict:
    """The verdict at the top of the page."""

    kind: Kind
    headline: str
    words: str
    """One or two sentences with the numbers."""
    sure: str
    """Confidence, with the reason."""
    signs: Sequence[Sign] = ()


def verdict(found: Evidence) -> Verdict:
    """Apply the rule."""
    if found.known is not None and not found.known.value >= KNOWN:
        words = f"The base model itself answers only {found.known} of the forget facts."
        if (said := most_said(found)) is not None and said[1].above(1.0):
            words += " The unlearned model answers more of them: are the two swapped?"
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
    said = f"It answers {share} of the forget facts that the base model answers ({asked})"
    said += f", and {found.retain} of the retain facts. " if found.retain is not None else ". "
    place = f" {found.place}" if found.place else ""
    if not sides:
        words = said + "The measurements do not decide whether the knowledge is gone or just no longer read out."
        return Verdict("undecided", "Forgotten, depth undecided", words + place, _sure(signs, "undecided"), signs)
    if "suppressed" in sides and "erased" in sides:
        words = said + "The evidence on what is left disagrees; both readings are given below."
        return Verdict(
            "undecided", "Forgotten, the evidence disagrees", words + place, _sure(signs, "undecided"), signs
        )
    if sides[0] == "suppressed":
        words = said + "The knowledge is still in the model, just no longer read out."
        return Verdict("suppressed", "Suppressed, not erased", words + place, _sure(signs, "suppressed"), signs)
    if found.retain is None:
        return Verdict("undecided", "Forgotten, or damaged", said + _UNKEPT + place, _sure(signs, "undecided"), signs)
    words = said + "The knowledge is no longer found in the model: " + _listed([_GONE[s.name] for s in decisive]) + "."
    return Verdict("erased", "Erased", words + place, _sure(signs, "erased"), signs)


_UNKEPT = (
    "No sign of the knowledge is found in the model, but no retain facts were measured: this may be damage as well as "
    "forgetting."
)
_GONE = {
    "depth": "its states do not give the answers back",
    "relearning": "relearning other facts does not bring them back",
    WEAK: "the value vectors themselves were changed",
}
"""Words for each sign of erasure."""


def _broken(found: Evidence) -> bool:
    lost = found.retain is not None and found.retain.below(KEPT)
    return lost or (found.perplexity is not None and found.perplexity > PERPLEXITY)


def _broken_words(found: Evidence, most: tuple[str, Share]) -> str:
    parts = []
    if found.retain is not None:
        parts.append(f"of the retain facts that the base model answers, it answers {found.retain}")
    if found.perplexity is not None and found.perplexity > PERPLEXITY:
        parts.append(f"its perplexity on plain texts is {found.perplexity:.3g} times the base model's")
    text = " and ".join(parts)
    left = f"of the forget facts, {most[1]} ({most[0]})"
    return f"{text[0].upper()}{text[1:]}; {left}. This is damage, not selective forgetting."


def _broken_sure(found: Evidence, signs: Sequence[Sign]) -> str:
    left = [sign for sign in signs if sign.side == "suppressed"]
    if not left:
        return "In a broken model, depth and relearning do not speak of the forget facts alone."
    return "Broken does not mean erased: " + " ".join(sign.words for sign in left)


def _sure(signs: Sequence[Sign], kind: str) -> str:
    """Say how many independent signs agree, and what is missing."""
    agree = [sign.name for sign in signs if sign.side == kind]
    unclear = [sign.name for sign in signs if sign.side == "unclear"]
    absent = [name for name in ("depth", "relearning") if name not in [sign.name for sign in signs]]
    if kind == "undecided":
        text = "No confidence either way."
    elif {"depth", "relearning"} <= set(agree):
        text = "Good confidence: depth and relearning, which fail in different ways, agree."
    elif agree == [WEAK]:
        text = "Low confidence: only restoration supports this."
    else:
        text = f"Moderate confidence: {_listed(agree)} support{'s' if len(agree) == 1 else ''} this."
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
