"""`Measure`, how a checkpoint is measured, and the catalogue of measures.

Each measure is a file in one of the folders of this room and holds it as ``MEASURE`` (or several as ``MEASURES``);
`available` finds them there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dissect.errors import DissectError, near_miss
from dissect.measures.estimate import Estimate
from dissect.measures.examined import Examined
from dissect.measures.option import Option

Family = Literal["behaviour", "memorisation", "depth", "robustness"]
FAMILIES: tuple[Family, ...] = ("behaviour", "memorisation", "depth", "robustness")

FACT_SETS = ("forget", "retain", "paraphrased", "held_out", "unrelated")
"""Facts to forget; to retain; those to forget in other words; in words that training never saw; unrelated ones."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A way to measure a checkpoint."""

    name: str
    label: str
    """For tables and axes."""
    definition: str
    """One or two sentences: what is computed, from what, in which direction, and who proposed it."""
    family: Family
    compute: Callable[[Examined], Estimate | Sequence[Estimate]]
    """Called with one checkpoint and one set of facts. Raises `Undefined` where the measure is not defined."""
    options: tuple[Option[Any], ...] = ()
    """Options that it reads by ``examined.option(...)``."""
    check: Callable[[Mapping[str, Any]], None] | None = None
    """Checks those of its options that were given together, where one rules out another. Raises `DissectError`."""
    sets: tuple[str, ...] = FACT_SETS
    """The sets that it is computed on, where they were given."""
    knows: Literal["high", "low", ""] = ""
    """Which values mean that the model knows the facts of the set; empty where neither does."""
    slow: bool = False
    """Trains something, runs for minutes or is a published benchmark's: computed only on request."""


def get(name: str) -> Measure:
    """Return the measure of that name.

    Raises:
        DissectError: there is none; the message names those there are.
    """
    known = available()
    if name not in known:
        raise DissectError(f"no measure {name!r}{near_miss(name, known)}: choose from {', '.join(known)}")
    return known[name]


def available() -> dict[str, Measure]:
    """Return every measure by name, sorted by family and name."""
    package = importlib.import_module("dissect.measures")
    measures: list[Measure] = []
    for module in pkgutil.walk_packages(package.__path__, prefix="dissect.measures."):
        measures.extend(_measures(importlib.import_module(module.name)))
    return {measure.name: measure for measure in sorted(measures, key=lambda m: (FAMILIES.index(m.family), m.name))}


def options() -> dict[str, Option[Any]]:
    """Return every option of a measure by name, sorted."""
    declared = {option.name: option for measure in available().values() for option in measure.options}
    return dict(sorted(declared.items()))


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse options that no measure has, and values that they do not accept.

    Raises:
        DissectError: one of them, with the names there are.
    """
    declared = options()
    for name, value in given.items():
        if name not in declared:
            raise DissectError(_unknown(name, declared))
        declared[name].check(value)
    for measure in available().values():
        if measure.check is not None:
            own = {option.name for option in measure.options}
            measure.check({name: value for name, value in given.items() if name in own})


def _unknown(name: str, declared: Mapping[str, Option[Any]]) -> str:
    owner, dot, last = name.partition(".")
    siblings = {option.name.partition(".")[2]: option.name for option in declared.values() if option.owner == owner}
    if dot and siblings:
        return f"no option {name!r}{near_miss(last, siblings)}: there are {', '.join(siblings.values())}"
    if dot and owner in available():
        return f"{owner} has no options, got {name!r}: leave it out"
    close = near_miss(owner, {option.owner for option in declared.values()})
    return f"option {name!r} belongs to no measure{close}: write it as measure.option, such as uds.tau"


def _measures(module: object) -> Iterable[Measure]:
    single = getattr(module, "MEASURE", None)
    several = [single] if single is not None else getattr(module, "MEASURES", ())
    return [measure for measure in several if isinstance(measure, Measure)]
