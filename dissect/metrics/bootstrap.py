"""Percentile bootstrap intervals."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2000


def bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., Any] = np.mean,
    *,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
    vectorized: bool = True,
) -> tuple[float, float]:
    """Ends of the percentile interval of ``statistic``: each sample is drawn anew, on its own, with replacement.

    Args:
        statistic: of as many arrays as there are samples; with ``vectorized`` it takes ``axis``.

    Returns:
        (low, high); both NaN where a sample has fewer than two values.
    """
    if min(len(sample) for sample in samples) < 2:
        return float("nan"), float("nan")
    drawn = stats.bootstrap(
        tuple(samples),
        statistic,
        n_resamples=n_resamples,
        confidence_level=level,
        method="percentile",
        vectorized=vectorized,
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)
