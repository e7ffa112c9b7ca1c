"""What a measure of a checkpoint is: a number with its definition, how many items it rests on, and an interval.

Each measure is a file in one of the folders of this room and holds it as ``MEASURE`` (or several as ``MEASURES``);
`available` finds them there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from dissect.errors import DissectError, Undefined, near_miss
from dissect.statistics.bootstrap import bootstrap

if TYPE_CHECKING:
    from dissect.measures.examined import Subject

Family = Literal["behaviour", "memorisation", "depth", "robustness"]
FAMILIES: tuple[Family, ...] = ("behaviour", "memorisation", "depth", "robustness")

FACT_SETS = ("forget", "retain", "paraphrased", "held_out", "unrelated")
"""Facts to be forgotten; to be kept; the forgotten ones in other words; in words that training never saw; others."""

COLUMNS = frozenset(("model", "measure", "set", "value", "low", "high", "n", "unit"))
"""What stands beside every number."""


@dataclass(frozen=True)
class Estimate:
    """One number."""

    value: float
    n: int
    """Items that it rests on."""
    low: float = float("nan")
    """Ends of the 95 % interval; NaN where there is none."""
    high: float = float("nan")
    unit: str = "facts"
    """What the items are."""
    at: Mapping[str, float | int | str] = field(default_factory=dict)
    """Where on a curve: ``{"layer": 3}``; empty for a measure that is one number."""
    items: np.ndarray | None = field(default=None, repr=False)
    """The value of each item, NaN where it is not defined; None where the number is no mean of items."""

    def __post_init__(self) -> None:
        """A place may not be called like a column that every number has: in tables one would hide the other."""
        if clash := COLUMNS & set(self.at):
            raise ValueError(f"a place on a curve cannot be called {sorted(clash)[0]!r}")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a checkpoint is measured."""

    name: str
    label: str
    """For tables and axes."""
    definition: str
    """What is computed, from what, in which direction, and by whom it was proposed; one or two sentences."""
    family: Family
    compute: "Callable[[Subject], Estimate | Sequence[Estimate]]"
    """Called with one model and one set of facts. Raises `Undefined` where it is not defined."""
    sets: tuple[str, ...] = FACT_SETS
    """The sets that it is computed on, where they were given."""
    knows: Literal["high", "low", ""] = ""
    """Which values mean that the model knows the facts of the set; empty where neither does."""
    slow: bool = False
    """Trains something or runs for minutes: only computed when it is asked for."""


def mean_of(items: np.ndarray, *, seed: int = 0, unit: str = "facts", **at: float | int | str) -> Estimate:
    """The mean over items with its bootstrap interval; NaN items are left out and not counted.

    Raises:
        Undefined: no item is defined.
    """
    items = np.asarray(items, dtype=np.float64)
    defined = items[~np.isnan(items)]
    if not len(defined):
        raise Undefined("it is defined for none of the facts")
    low, high = bootstrap([defined], seed=seed)
    return Estimate(float(defined.mean()), len(defined), low, high, unit, at, items)


def get(name: str) -> Measure:
    """The measure of that name.

    Raises:
        DissectError: there is none; the message names those there are.
    """
    known = available()
    if name not in known:
        raise DissectError(f"no measure {name!r}{near_miss(name, known)}: choose from {', '.join(known)}")
    return known[name]


def available() -> dict[str, Measure]:
    """Every measure by name, sorted by family and name."""
    package = importlib.import_module("dissect.measures")
    found: list[Measure] = []
    for module in pkgutil.walk_packages(package.__path__, prefix="dissect.measures."):
        found.extend(_measures(importlib.import_module(module.name)))
    return {measure.name: measure for measure in sorted(found, key=lambda m: (FAMILIES.index(m.family), m.name))}


def _measures(module: object) -> Iterable[Measure]:
    one = getattr(module, "MEASURE", None)
    return [one] if isinstance(one, Measure) else [m for m in getattr(module, "MEASURES", ()) if isinstance(m, Measure)]
