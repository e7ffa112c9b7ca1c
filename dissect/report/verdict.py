"""The verdict: from measured shares to words, by the rule that docs/verdict.md states and defends.

Nothing is measured here. Every number is a share with an interval, and a sign counts only where its whole interval lies
on one side of the line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Literal

Kind = Literal["not forgotten", "suppressed", "erased", "broken", "undecided", "no question"]
Side = Literal["suppressed", "erased", "unclear"]

KNOWN = 0.5
"""The base model must know so many of the forget facts for there to be a question."""
SAID = 0.5
"""Whoever still says so large a share of what the base model says has not forgotten."""
KEPT = 0.5
"""Whoever keeps less than this share of what was to be kept is broken."""
PERPLEXITY = 3.0
"""Whose perplexity on plain texts rose by more than this factor is broken."""
DEPTH = 0.5
"""Depth of erasure: 0 where the unlearned model's own states still give the base model the answers, 1 where not."""
READABLE = 0.3
"""Where states about kept facts seem erased to more than this, depth cannot be read: they are foreign to the base."""
RETURNED = 0.25
"""Share of what was lost of untouched facts, beyond the control's, that relearning has to bring back to count. Less,
but more than nothing, decides nothing: what comes back is a lower bound of what is there."""
TAUGHT = 0.5
"""Relearning that brings back less than this share of the very facts it trains on is too weak to find nothing."""
RESTORED = 0.5
"""Recovery from which on a restored part is said to bring the behaviour back."""
WEAK = "restoration"
"""A sign that decides only where no other does."""


@dataclass(frozen=True)
class Share:
    """A share of what the base model has, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int = 0

    def __str__(self) -> str:
        if isnan(self.low):
            return _percent(self.value)
        return f"{_percent(self.value)} ({_percent(self.low)} to {_percent(self.high)})"

    def above(self, line: float) -> bool:
        """Whether all of the interval lies above; the value where there is no interval."""
        return (self.value if isnan(self.low) else self.low) > line

    def below(self, line: float) -> bool:
        """Whether all of it lies below."""
        return (self.value if isnan(self.high) else self.high) < line


def _percent(value: float) -> str:
    """With a real minus sign, and none before a zero."""
    return f"{value:.0%}".replace("-0%", "0%").replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the rule reads; None where it was not measured."""

    known: Share | None = None
    """Forget facts that the base model answers."""
    said: Mapping[str, Share] = field(default_factory=dict)
    """By wording of the question: what the unlearned model answers of what the base model does."""
    kept: Share | None = None
    """The same of facts that were to be kept."""
    perplexity: float | None = None
    """On plain texts, unlearned over base."""
    depth: Share | None = None
    """See `DEPTH`."""
    depth_kept: Share | None = None
    """``erasure_depth`` of facts that were to be kept: near 0 where depth can be read at all."""
    depth_alike: Share | None = None
    """``erasure_depth`` of forget facts, to be compared with it."""
    returned: Share | None = None
    """What relearning other facts brings back of the answer probability that facts it does not touch have lost."""
    returned_control: Share | None = None
    """What the same training does to a model that never knew them."""
    gained: Share | None = None
    """The difference, over the same facts."""
    taught: Share | None = None
    """What the facts that relearning does train on regain of what they had lost: how strong the attack was."""
    values: Share | None = None
    """Recovery with the base model's value vectors in the best window."""
    values_controls: Mapping[str, Share] = field(default_factory=dict)
    """The same of swaps that carry nothing of the answer, by what is put in."""
    coefficients: Share | None = None
    """Recovery with its coefficients m in the best window that leaves the last third of the layers alone: later ones
    carry the answer that the base model has already computed, and prove nothing."""
    coefficients_controls: Mapping[str, Share] = field(default_factory=dict)
    """The same window with m that carry nothing of the answer, by whose they are."""
    place: str = ""
    """Where the change that matters sits, in words."""


@dataclass(frozen=True)
class Sign:
    """One piece of evidence on how deep the forgetting goes."""

    name: str
    side: Side
    words: str


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
    signs = (*_depth(found), *_relearning(found), *_restoration(found))
    if _broken(found):
        return Verdict("broken", "Broken", _broken_words(found, most), _broken_sure(found, signs), signs)
    left = {wording: share for wording, share in found.said.items() if not share.below(SAID)}
    if left:
        wording, share = max(left.items(), key=lambda item: item[1].value)
        words = f"Of what the base model answers, the unlearned model still answers {share} ({wording})."
        sure = "The interval lies above one half." if share.above(SAID) else "The interval crosses one half."
        return Verdict("not forgotten", "Not forgotten", words, sure, signs)
    return _forgotten(found, most, signs)


def most_said(found: Evidence) -> tuple[str, Share] | None:
    """The wording in which the unlearned model answers most, and how much; None where nothing was measured."""
    return max(found.said.items(), key=lambda item: item[1].value, default=None)


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


def _depth(found: Evidence) -> list[Sign]:
    """What the unlearned model's own states still give the base model."""
    depth, kept = found.depth, found.depth_kept
    if depth is None:
        return []
    if kept is not None and not kept.below(READABLE):
        words = (
            f"States about facts that were to be kept seem erased as well, {kept}: they are foreign to the base model, "
            "so depth says nothing about the forgotten ones."
        )
        return [Sign("depth", "unclear", words)]
    if depth.below(DEPTH):
        return [Sign("depth", "suppressed", f"Its own states still give the base model the answers (erased: {depth}).")]
    if depth.above(DEPTH) and kept is None:
        words = (
            f"Its own states do not give the base model the answers (erased: {depth}), but whether the states of the "
            "two models can be exchanged at all was not measured: that takes facts that were to be kept."
        )
        return [Sign("depth", "unclear", words)]
    if depth.above(DEPTH):
        return [Sign("depth", "erased", f"Its own states no longer give the base model the answers (erased: {depth}).")]
    return [Sign("depth", "unclear", f"Its own states give the base model a part of the answers (erased: {depth}).")]


def _relearning(found: Evidence) -> list[Sign]:
    """What learning other facts brings back of facts that it did not touch."""
    back, control, gained = found.returned, found.returned_control, found.gained
    if back is None:
        return []
    beside = f", {control} in a model that never knew them" if control is not None else ", without a control"
    more = f"; {gained} more" if gained is not None and control is not None else ""
    words = (
        f"Relearning other facts brings back {back} of the answer probability that facts which it does not touch had "
        f"lost{beside}{more}."
    )
    if control is not None and gained is None:  # nothing was lost, or it cannot be said how much
        return [Sign("relearning", "unclear", words)]
    counts = gained if gained is not None else back
    if counts.above(0.0) and counts.value >= RETURNED:
        return [Sign("relearning", "suppressed", words)]
    if found.taught is not None and not found.taught.value >= TAUGHT:
        words += f" It was too weak to say more: the facts it trains on regained {found.taught}."
        return [Sign("relearning", "unclear", words)]
    if counts.below(RETURNED) and not counts.above(0.0):
        return [Sign("relearning", "erased", words)]
    return [Sign("relearning", "unclear", words)]


def _restoration(found: Evidence) -> list[Sign]:
    """Value vectors against coefficients, as in Hong et al. (2024), without the layers in which it proves nothing."""
    values, m = found.values, found.coefficients
    if values is None or m is None:
        return []
    if values.above(RESTORED) and _stands_out(values, found.values_controls):
        beside = _beside(found.values_controls)
        words = f"The base model's value vectors bring {values} back{beside}: the values were changed."
        return [Sign(WEAK, "erased", words)]
    words = f"Value vectors bring {values} back{_beside(found.values_controls)}; coefficients before the last third of "
    words += f"the layers {m}{_beside(found.coefficients_controls)}."
    if values.below(RESTORED) and m.above(RESTORED) and _stands_out(m, found.coefficients_controls):
        return [Sign(WEAK, "suppressed", words)]
    return [Sign(WEAK, "unclear", words)]


def _stands_out(share: Share, controls: Mapping[str, Share]) -> bool:
    """Whether its interval lies above those of all controls."""
    return all(share.low > control.high for control in controls.values())


def _beside(controls: Mapping[str, Share]) -> str:
    """The control that does most."""
    words, share = max(controls.items(), key=lambda item: item[1].value, default=("", None))
    return "" if share is None else f" ({words} {_percent(share.value)})"


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
