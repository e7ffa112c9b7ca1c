"""The rule: from numbers to one of six words. Nothing is measured here, and every line is in `lines`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from dissect.verdicts.findings import Findings
from dissect.verdicts.interval import Interval
from dissect.verdicts.lines import ALPHA, COVERED, KEPT, KNOWN, PERPLEXITY, POWER, SAID, SHARE

Word = Literal["not forgotten", "suppressed", "traces left", "erased", "broken", "cannot tell"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the rule reads of one checkpoint."""

    base_choice: Interval
    """Forced choice of the base model, as asked."""
    base_p: float
    """Its exact p."""
    findings: Findings
    said: Mapping[str, Interval] = field(default_factory=dict)
    """By wording, the share of what the base model answers that is still answered."""
    kept: Interval | None = None
    """Share of the retain facts that is still answered; None where there were none."""
    perplexity: float | None = None
    """On plain texts, over the base model's."""
    covered: float = 1.0
    """Share of the tested facts whose answers a readout of states was fitted on, and so could have told apart."""
    weak: tuple[str, ...] = ()
    """Labels of attacks that were too weak: those that trained on facts and did not teach them."""

    @property
    def known(self) -> bool:
        """True where the base model knows what was to be forgotten."""
        return self.base_choice.value >= KNOWN and self.base_p < ALPHA

    @property
    def broken(self) -> bool:
        """True where what was to be kept is surely lost, or plain text no longer modelled."""
        lost = self.kept is not None and self.kept.below(KEPT)
        return lost or (self.perplexity is not None and not self.perplexity <= PERPLEXITY)

    @property
    def most_said(self) -> tuple[str, Interval] | None:
        """The wording in which most is answered, and how much."""
        return max(self.said.items(), key=lambda item: item[1].value, default=None)

    @property
    def still_said(self) -> bool:
        """True where in some wording it may still answer half of what the base model answers."""
        return any(not share.below(SAID) for share in self.said.values())


def word(evidence: Evidence) -> Word:
    """Apply the rule.

    Broken and not forgotten come first. Knowledge counts where the adjusted p of the panel says so: at or above the
    line it is suppressed, below it traces are left. Erased needs that nothing was found, that every share left is
    surely below the line, that a share at the line would have been found, that an attack that trains was among them
    (the demo's NPO avoids the right answers and shows nothing to any other), that none of these was too weak to teach
    even what it trained on, and that what was to be kept was measured. Where the model avoids the right answers,
    what it says is masked: then a readout that can tell the tested answers apart must have read its states.
    """
    findings = evidence.findings
    if not evidence.known:
        return "cannot tell"
    if evidence.broken:
        return "broken"
    if evidence.still_said:
        return "not forgotten"
    if findings.found:
        largest = findings.largest
        assert largest is not None
        return "suppressed" if largest.share.value >= SHARE else "traces left"
    return "erased" if not doubts(evidence) else "cannot tell"


def masked(evidence: Evidence) -> bool:
    """Return True if the model avoids the right answers and no readout of its states could tell them apart.

    A model whose output rows of the answers are turned round knows all of them and ranks each last, under every attack
    that reads what it says; so does one that never knew and was trained against them. Only its states tell.
    """
    return evidence.findings.avoidance < ALPHA and evidence.covered < COVERED


def doubts(evidence: Evidence) -> list[str]:
    """Why nothing having been found does not mean that nothing is there."""
    findings = evidence.findings
    reasons = []
    if not findings.readings:
        reasons.append("no attack could be made")
        return reasons
    if not findings.power >= POWER:
        reasons.append("too few facts to find a share at the line")
    if any(not reading.upper < SHARE for reading in findings.readings):
        reasons.append("a share left whose upper bound is not below the line")
    if evidence.kept is None:
        reasons.append("no retain facts, so that damage cannot be told from forgetting")
    if not any(reading.trains for reading in findings.readings):
        reasons.append("no attack that trains was made, and a model that avoids the answers shows nothing to others")
    if masked(evidence):
        reasons.append("a model that avoids the answers, and no readout of its states that could tell them apart")
    if evidence.weak:
        reasons.append("an attack that did not even teach the facts that it trained on")
    return reasons
