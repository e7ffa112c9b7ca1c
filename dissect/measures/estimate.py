"""`Estimate`, the number that a measure returns, with what its interval is drawn from."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dissect.errors import Undefined
from dissect.statistics.bootstrap import bootstrap, mean_interval
from dissect.statistics.wilson import edge_interval

COLUMNS = frozenset(("model", "measure", "set", "value", "low", "high", "n", "unit"))
"""Names of the columns that every number has."""


@dataclass(frozen=True)
class Estimate:
    """One number. `mean_of` and `statistic_of` make most of them; evaluation draws their intervals."""

    value: float
    n: int
    """Number of items it rests on."""
    low: float = float("nan")
    """Lower end of the 95% interval; NaN before it is drawn, and where there is none."""
    high: float = float("nan")
    """Upper end of the 95% interval."""
    unit: str = "facts"
    """Name of the items."""
    at: Mapping[str, float | int | str] = field(default_factory=dict)
    """Place on a curve, e.g. ``{"layer": 3}``; empty for a measure that is one number."""
    items: np.ndarray | None = field(default=None, repr=False)
    """Values of the items, NaN where undefined, if ``value`` is their mean; else None."""
    samples: Sequence[np.ndarray] = field(default=(), repr=False)
    """Samples that are drawn anew for the interval, each on its own, if ``value`` is another statistic."""
    statistic: Callable[..., Any] | None = field(default=None, repr=False)
    """Maps as many arrays as there are ``samples``, and an ``axis``, to the value."""
    share: bool = False
    """True where no item can lie outside of 0 and 1, so that their mean is a share."""

    def __post_init__(self) -> None:
        """Refuse a place named like a column that every number has: in tables one would hide the other."""
        if clash := COLUMNS & set(self.at):
            raise ValueError(f"a place on a curve cannot be called {sorted(clash)[0]!r}")

    def with_interval(self, groups: Int[np.ndarray, " item"] | None = None, *, seed: int = 0) -> "Estimate":
        """Return the estimate with its interval: a percentile bootstrap over its items or samples.

        Of a share of yes/no items of which few subjects say yes, or few say no, it is Wilson's; see
        ``dissect.statistics.wilson``.

        An estimate whose measure gave an interval of its own, such as a jackknife, is returned as it is.

        Args:
            groups: group of each item, for instance its subject; groups are then drawn whole. Ignored where the
                estimate is no mean over just these items.
        """
        if self.items is not None and groups is not None and len(groups) == len(self.items):
            defined = ~np.isnan(self.items)
            items, groups = self.items[defined], groups[defined]
            low, high = self._edge(items, groups) or mean_interval(items, groups, seed=seed)
        elif not np.isnan(self.low):
            return self
        elif self.items is not None:
            items = self.items[~np.isnan(self.items)]
            low, high = self._edge(items) or bootstrap([items], seed=seed)
        elif self.statistic is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a statistic undefined in some draw leaves NaN: that says it
                low, high = bootstrap(self.samples, self.statistic, seed=seed)
        else:
            return self
        return replace(self, low=low, high=high)

    def _edge(
        self, items: Float[np.ndarray, " item"], groups: Int[np.ndarray, " item"] | None = None
    ) -> tuple[float, float] | None:
        return edge_interval(items, groups=groups) if self.share else None


def mean_of(items: Float[np.ndarray, " item"], *, unit: str = "facts", **at: float | int | str) -> Estimate:
    """Return the mean over items; NaN items are left out and not counted.

    Raises:
        Undefined: no item is defined.
    """
    items = np.asarray(items, dtype=np.float64)
    defined = items[~np.isnan(items)]
    if not len(defined):
        raise Undefined("it is defined for none of the facts")
    return Estimate(float(defined.mean()), len(defined), unit=unit, at=at, items=items)


def share_of(items: Float[np.ndarray, " item"], *, unit: str = "facts", **at: float | int | str) -> Estimate:
    """Return the mean over items none of which can lie outside of 0 and 1; NaN items are left out and not counted.

    Raises:
        Undefined: no item is defined.
    """
    return replace(mean_of(items, unit=unit, **at), share=True)


def statistic_of(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., Any],
    *,
    n: int | None = None,
    unit: str = "facts",
    **at: Any,
) -> Estimate:
    """Return a statistic of samples that is no mean of items.

    Args:
        samples: drawn anew for the interval, each on its own.
        statistic: maps as many arrays as there are samples, and an ``axis``, to the value.
        n: number of items it rests on; by default the values of all samples.
    """
    count = sum(map(len, samples)) if n is None else n
    return Estimate(float(statistic(*samples)), count, unit=unit, at=at, samples=samples, statistic=statistic)
