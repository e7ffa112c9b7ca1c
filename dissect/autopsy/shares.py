"""What the verdict reads: shares with their intervals, each of which may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan


@dataclass(frozen=True)
class Share:
    """A share of what the base model has, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int = 0

    def __str__(self) -> str:
        if isnan(self.low):
            return percent(self.value)
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)})"

    def above(self, line: float) -> bool:
        """Whether all of the interval lies above; the value where there is no interval."""
        return (self.value if isnan(self.low) else self.low) > line

    def below(self, line: float) -> bool:
        """Whether all of it lies below."""
        return (self.value if isnan(self.high) else self.high) < line


def percent(value: float) -> str:
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


def most_said(found: Evidence) -> tuple[str, Share] | None:
    """The wording in which the unlearned model answers most, and how much; None where nothing was measured."""
    return max(found.said.items(), key=lambda item: item[1].value, default=None)
