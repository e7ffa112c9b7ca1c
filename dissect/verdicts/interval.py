"""A number with the ends of its interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A share, or another number, with its 95% interval; NaN ends where there is none."""

    value: float
    low: float = nan
    high: float = nan

    def __str__(self) -> str:
        if not isfinite(self.low):
            return percent(self.value)
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)})"

    def below(self, line: float) -> bool:
        """True where the whole interval lies below; the value where there is no interval."""
        return (self.high if isfinite(self.high) else self.value) < line

    def to_dict(self) -> dict[str, float | None]:
        """For JSON: null where there is no number."""
        return {name: finite(getattr(self, name)) for name in ("value", "low", "high")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> "Interval | None":
        """From `to_dict`; None from null."""
        if content is None:
            return None
        return cls(*(nan if content[name] is None else float(content[name]) for name in ("value", "low", "high")))


def percent(value: float) -> str:
    """A share as a percentage, with a real minus sign, and none before a zero."""
    if not isfinite(value):
        return "?"
    return f"{value:.0%}".replace("-0%", "0%").replace("-", "\N{MINUS SIGN}")


def finite(value: float | None) -> float | None:
    """The number; None for NaN and infinity, which JSON does not have."""
    return None if value is None or not isfinite(value) else float(value)
