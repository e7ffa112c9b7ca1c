"""Intervals of shares near 0 and 1, where a bootstrap has nothing to draw from.

Of 12 facts of which none is answered every draw has none, and the bootstrap would say "0% (0% to 0%)". Wilson's score
interval (Wilson 1927) says 0% to 24%: it holds the shares under which what was seen is not too improbable, and keeps
its level near the edges, where intervals drawn around the estimate do not (Brown, Cai & DasGupta 2001).
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

FEW = 5
"""With fewer subjects than this on one side, yes or no, the interval is Wilson's; else the bootstrap's."""


def wilson(share: float | int, n: float | int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of Wilson's score interval, (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        share: p, between 0 and 1.
        n: number of independent items, or an effective number.

    Example:
        >>> [round(end, 3) for end in wilson(0.0, 12)]
        [0.0, 0.242]
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    centre, reach = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * reach) / (1 + z**2 / n) for sign in (-1, 1))
    return (0.0 if share == 0 else float(max(low, 0.0))), (1.0 if share == 1 else float(min(high, 1.0)))


def effective_number(groups: Int[np.ndarray, " item"]) -> float:
    """Return n_eff = (Σ m)² / Σ m² for groups of m items (Kish): the number of groups where all are of one size.

    It is the number of items over the largest design effect that groups can have, which is reached where the items of
    each are all alike. Near 0 and 1 nothing shows how alike they are, so the largest is what is safe.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def edge_interval(
    after: Float[np.ndarray, " item"],
    before: Float[np.ndarray, " item"] | None = None,
    *,
    groups: Int[np.ndarray, " item"] | None = None,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return the interval of a share of yes/no items where few subjects say yes, or few say no; else None.

    None means that the bootstrap may draw: there are at least `FEW` subjects on either side, or the items are not all 0
    or 1, or more than everything is left.

    Args:
        after: 0 or 1 for each item, without NaN.
        before: 0 or 1 for each item, where the share is Σ after / Σ before, as in "of what the base model answers";
            by default 1 for each.
        groups: group of each item, for instance its subject; by default each item is a group of its own.
    """
    of = np.ones(len(after)) if before is None else before
    groups = np.arange(len(after)) if groups is None else groups
    if not (of.sum() > 0 and _yes_or_no(after) and _yes_or_no(of)) or after.sum() > of.sum():
        return None
    yes, no = (len(np.unique(groups[there])) for there in (after == 1, (of == 1) & (after == 0)))
    if min(yes, no) >= FEW:
        return None
    return wilson(float(after.sum() / of.sum()), effective_number(groups[of == 1]), level=level)


def _yes_or_no(items: Float[np.ndarray, " item"]) -> bool:
    return bool(((items == 0) | (items == 1)).all())
