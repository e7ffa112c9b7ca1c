"""The verdict on one checkpoint, and how ``verdict.json`` holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any, get_args

from dissect.errors import DissectError
from dissect.verdicts.interval import Interval, finite
from dissect.verdicts.rule import WORDS, Word


@dataclass(frozen=True, kw_only=True)
class AttackRow:
    """The knowledge that one attack brought back in one checkpoint."""

    name: str
    label: str
    forced_choice: float
    """One half is chance, 1 is knowing."""
    low: float
    high: float
    z: float
    p: float
    """Exact, one-sided, for this attack alone."""
    p_adjusted: float
    """For the whole panel."""
    share_left: Interval
    items: tuple[float | None, ...] = ()
    """Forced choice of each tested fact (`Verdicts.tested` says which), to four places; None where it was not asked."""
    not_possible: str = ""
    """Why it was not made; then the numbers are NaN."""
    note: str = ""
    """A remark beside the numbers, e.g. the layer that it read or the rate at which it trained."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One checkpoint."""

    name: str
    verdict: Word
    share_left: Interval
    """The largest of the attacks that found knowledge, or of all where none did; 1 is all that the base model knows."""
    p_adjusted: float
    """The smallest adjusted p of the panel, one-sided."""
    kept: Interval | None
    attacks: tuple[AttackRow, ...]
    headline: str
    words: str
    said: Mapping[str, Interval]
    avoidance: float
    """Adjusted p of avoiding the right answers."""
    power: float
    """Probability with which a share at the line would have been found."""
    facts_enough: float
    """Facts that would be enough for "erased" to be said."""
    perplexity: float | None = None

    def __repr__(self) -> str:
        return f"{self.name}: {self.headline}\n{self.words}"


def verdict_out(verdict: Verdict) -> dict[str, Any]:
    """For JSON; numbers that are not finite are null."""
    return {
        "name": verdict.name,
        "verdict": verdict.verdict,
        "share_left": verdict.share_left.to_dict(),
        "p_adjusted": finite(verdict.p_adjusted),
        "kept": None if verdict.kept is None else verdict.kept.to_dict(),
        "attacks": [_attack_out(row) for row in verdict.attacks],
        "headline": verdict.headline,
        "words": verdict.words,
        "said": {wording: share.to_dict() for wording, share in verdict.said.items()},
        "avoidance": finite(verdict.avoidance),
        "power": finite(verdict.power),
        "facts_enough": finite(verdict.facts_enough),
        "perplexity": finite(verdict.perplexity),
    }


def _attack_out(row: AttackRow) -> dict[str, Any]:
    numbers = {name: finite(getattr(row, name)) for name in ("forced_choice", "low", "high", "z", "p", "p_adjusted")}
    more: dict[str, Any] = {"share_left": row.share_left.to_dict(), "items": list(row.items)}
    if row.not_possible:
        more["not_possible"] = row.not_possible
    if row.note:
        more["note"] = row.note
    return {"name": row.name, "label": row.label, **numbers, **more}


def verdict_in(content: Mapping[str, Any]) -> Verdict:
    """From `verdict_out`.

    Raises:
        DissectError: a word that is none of the six.
        KeyError: a field is missing.
    """
    if content["verdict"] not in get_args(Word):
        raise DissectError(f"expected one of {', '.join(WORDS)}, got {content['verdict']!r}: run dissect verdict again")
    perplexity = content.get("perplexity")
    return Verdict(
        name=content["name"],
        verdict=content["verdict"],
        share_left=Interval.from_dict(content["share_left"]) or Interval(nan),
        p_adjusted=_number(content["p_adjusted"]),
        kept=Interval.from_dict(content["kept"]),
        attacks=tuple(_attack_in(row) for row in content["attacks"]),
        headline=content["headline"],
        words=content["words"],
        said={
            wording: Interval.from_dict(share) or Interval(nan) for wording, share in content.get("said", {}).items()
        },
        avoidance=_number(content.get("avoidance")),
        power=_number(content.get("power")),
        facts_enough=_number(content.get("facts_enough")),
        perplexity=None if perplexity is None else float(perplexity),
    )


def _attack_in(row: Mapping[str, Any]) -> AttackRow:
    numbers = {name: _number(row[name]) for name in ("forced_choice", "low", "high", "z", "p")}
    return AttackRow(
        name=row["name"],
        label=row.get("label", row["name"]),
        **numbers,
        p_adjusted=_number(row.get("p_adjusted")),
        share_left=Interval.from_dict(row.get("share_left")) or Interval(nan),
        items=tuple(row.get("items", ())),
        not_possible=row.get("not_possible", ""),
        note=row.get("note", ""),
    )


def _number(value: Any) -> float:
    return nan if value is None else float(value)
