"""Shares with their intervals that stand under the verdict, each of which may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan


@dataclass(frozen=True)
class Share:
    """A share of what the base model has, with its 95% interval."""

    value: float
    low: float
    high: float
    n: int = 0

    def __str__(self) -> str:
        if isnan(self.low):
            return percent(self.value)
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)})"

    def above(self, line: float) -> bool:
        """Return whether the whole interval lies above ``line``; the value, where there is no interval."""
        return (self.value if isnan(self.low) else self.low) > line

    def below(self, line: float) -> bool:
        """Return whether the whole interval lies below ``line``; the value, where there is no interval."""
        return (self.value if isnan(self.high) else self.high) < line


def percent(value: float) -> str:
    """Format a share in percent, with a real minus sign and none before a zero."""
    return f"{value:.0%}".replace("-0%", "0%").replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The shares that are shown; None where not measured."""

    known: Share | None = None
    """Forget facts that the base model answers."""
    said: Mapping[str, Share] = field(default_factory=dict)
    """Share of the base model's answers that the unlearned model gives, by wording of the question."""
    retain: Share | None = None
    """That share on the retain facts."""
    perplexity: float | None = None
    """On plain texts, unlearned over base."""
    depth: Share | None = None
    """0 where the unlearned model's own states still give the base model the answers, 1 where not."""
    depth_retain: Share | None = None
    """``erasure_depth`` of the retain facts: near 0 where depth can be read at all."""
    depth_alike: Share | None = None
    """``erasure_depth`` of forget facts, to be compared with it."""
    returned: Share | None = None
    """Share of the lost answer probability of untouched facts that relearning other facts brings back."""
    returned_control: Share | None = None
    """That share in a model that never knew the facts."""
    gained: Share | None = None
    """The difference, over the same facts."""
    taught: Share | None = None
    """Share of their loss that the facts trained on regain: the strength of the attack."""
    values: Share | None = None
    """Recovery with the base model's value vectors in the best window."""
    values_controls: Mapping[str, Share] = field(default_factory=dict)
    """Recovery of swaps that carry nothing of the answer, by what is put in."""
    coefficients: Share | None = None
    """Recovery with its coefficients m in the best window that leaves the last third of the layers alone: later ones
    carry the answer that the base model has already computed, and prove nothing."""
    coefficients_controls: Mapping[str, Share] = field(default_factory=dict)
    """Recovery in that window with coefficients that carry nothing of the answer, by whose they are."""
    place: str = ""
    """Place of the change that matters, in words."""


def most_said(evidence: Evidence) -> tuple[str, Share] | None:
    """Return the wording that the unlearned model answers most, with the share; None where nothing was measured."""
    return max(evidence.said.items(), key=lambda item: item[1].value, default=None)
