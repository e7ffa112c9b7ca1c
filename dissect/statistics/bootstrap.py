"""Percentile bootstrap intervals."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

RESAMPLES = 2000


def bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., Any] = np.mean,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the ends of the percentile interval of ``statistic``; each sample is drawn anew, with replacement.

    Args:
        statistic: maps as many arrays as there are samples, and an ``axis``, to the value.

    Returns:
        (low, high); both NaN where a sample has fewer than two values.
    """
    if min(len(sample) for sample in samples) < 2:
        return float("nan"), float("nan")
    drawn = stats.bootstrap(
        tuple(samples),
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)


def of_sums(
    columns: Float[np.ndarray, "item column"],
    statistic: Callable[[Float[np.ndarray, "... column"]], Float[np.ndarray, "..."]],
    *,
    groups: Int[np.ndarray, " item"] | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic of sums over items; whole groups are drawn with replacement.

    A mean is the ratio of two sums, and so is a ratio of means over the same items. Items of one group, such as
    facts about one person, are not independent: drawn one by one, they would make the interval too narrow.

    Args:
        statistic: maps the sums of the columns, on the last axis, to the value.
        groups: group of each item; by default each item is a group of its own.

    Returns:
        (low, high); both NaN where there are fewer than two groups, or where some
        draw leaves the statistic undefined.
    """
    names, where = np.unique(np.arange(len(columns)) if groups is None else groups, return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, where, columns)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(drawn @ sums)
    if not np.isfinite(values).all():  # a ratio whose denominator vanishes in some draws has no interval
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    items: Float[np.ndarray, " item"], groups: Int[np.ndarray, " item"], *, seed: int = 0
) -> tuple[float, float]:
    """Return the ends of the 95% interval of a mean over items, drawing whole groups."""
    columns = np.stack([items, np.ones(len(items))], axis=1)
    return of_sums(columns, lambda sums: sums[..., 0] / sums[..., 1], groups=groups, seed=seed)
