"""One number of an evaluation, or the reason why there is none."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dissect.measures.estimate import Estimate


@dataclass(frozen=True)
class ScoredRow:
    """One number of one checkpoint."""

    model: str
    measure: str
    set: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    at: Mapping[str, float | int | str] = field(default_factory=dict)
    """Place on a curve, empty for a measure that is one number."""
    items: tuple[float, ...] | None = field(default=None, repr=False)
    """Value of each fact, in order, where the number is their mean and no point of a curve."""

    @classmethod
    def of(cls, model: str, measure: str, set: str, estimate: Estimate) -> "ScoredRow":
        """Build a row from an estimate."""
        items = None if estimate.items is None or estimate.at else tuple(float(x) for x in estimate.items)
        value, low, high = float(estimate.value), float(estimate.low), float(estimate.high)
        return cls(model, measure, set, value, low, high, int(estimate.n), estimate.unit, dict(estimate.at), items)

    @property
    def text(self) -> str:
        """``0.73 (0.68 to 0.77)``: as many digits as the interval leaves certain; three without one."""
        if not self.high > self.low or math.isclose(self.high, self.low):  # the same number but for rounding
            return _short(self.value)
        digits = min(6, max(0, -math.floor(math.log10((self.high - self.low) / 2))))
        value, low, high = (f"{round(number, digits) + 0.0:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


@dataclass(frozen=True)
class Refusal:
    """A measure that is not defined for a checkpoint and a set, with the reason."""

    model: str
    measure: str
    set: str
    reason: str


def _short(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3g}"


def row_out(row: ScoredRow) -> dict[str, Any]:
    """Return a JSON-serialisable dict, in which numbers that are not finite are null."""
    out = {**vars(row), "at": dict(row.at), "items": None if row.items is None else _finite(row.items)}
    return out | {key: _finite([out[key]])[0] for key in ("value", "low", "high")}


def row_in(row: Mapping[str, Any]) -> ScoredRow:
    """Build a row from what `row_out` returned."""
    numbers = {key: math.nan if row[key] is None else row[key] for key in ("value", "low", "high")}
    items = row.get("items")
    held = None if items is None else tuple(math.nan if x is None else x for x in items)
    return ScoredRow(**{**row, **numbers, "items": held})


def _finite(values: Iterable[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
