"""Jackknife intervals, for numbers that are no mean of items: they are computed without some facts in turn."""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

GROUPS = 50
"""Facts are left out one by one, or where there are more of them in so many groups."""


def groups_of(row: Int[np.ndarray, " item"], *, n_groups: int = GROUPS, seed: int = 0) -> Int[np.ndarray, " item"]:
    """The group, from 0, of each item: items of one fact stay together, facts are dealt at random."""
    facts, inverse = np.unique(row, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(facts))
    return (order % n_groups)[inverse]


def jackknife(
    value: float, without: Float[np.ndarray, " group"], *, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[float, float]:
    """Ends of the 95% interval  value ± t · SE,  SE² = (G - 1)/G Σ_g (θ_g - mean θ)², cut off at what is possible.

    Unlike the bootstrap it never counts an item twice, which would undo the debiasing of statistics over pairs.

    Args:
        without: the number without each group in turn.
    """
    n = len(without)
    if n < 2 or not np.isfinite(value) or not np.isfinite(without).all():
        return float("nan"), float("nan")
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    reach = stats.t.ppf(0.975, n - 1) * error
    return float(max(value - reach, lowest)), float(min(value + reach, highest))
