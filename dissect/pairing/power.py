"""How surely a given share of knowledge would have been found: the same re-dealing, on mixtures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from dissect.pairing.dealing import Dealing

MIXTURES = 1_000
"""Mixtures drawn."""
DEALINGS = 1_000
"""Re-dealings of each mixture; the same ones for all."""
Tables = Sequence[Float[np.ndarray, "_ _"]]
"""Values of every row in every slot, block by block."""


def power(
    tables: Tables, knowing: Tables, dealing: Dealing, share: float, critical: float, *, seed: int = 0
) -> tuple[float, float]:
    """Probability that knowledge of a ``share`` of the facts is found, and how many times the facts it would take to
    find it with probability 0.9.

    In each mixture a random ``share`` of the rows is as in a model that knows, in its true pairing, and the others are
    as in the model tested, in a pairing dealt at random. It counts as found where its z among its own re-dealings
    reaches ``critical``.

    Args:
        tables: of the model tested.
        knowing: of a model that knows.
        dealing: who is re-dealt with whom.
        share: of the facts.
        critical: the z that the test asks for.

    Returns:
        The power, 0 where nothing varies; the factor, infinite there.
    """
    counted = np.concatenate(
        [np.isfinite(a).any(axis=1) & np.isfinite(b).any(axis=1) for a, b in zip(tables, knowing, strict=True)]
    )
    if not counted.any():
        return 0.0, float("inf")
    dealings = np.concatenate(list(dealing.draws(DEALINGS, seed=seed + 1)))
    own, known = (_taken(each, dealings)[:, counted] for each in (tables, knowing))  # (dealing, row)
    truth = _taken(knowing, dealing.truth[None])[0, counted]
    rng = np.random.default_rng(seed)
    mixed = _subsets(int(counted.sum()), share, MIXTURES, rng)
    sums = known @ mixed.T + own @ ~mixed.T  # (dealing, mixture)
    dealt = own[rng.integers(len(own), size=MIXTURES)]  # (mixture, row)
    observed = np.where(mixed, truth, dealt).sum(axis=1)
    sd = sums.std(axis=0)
    if not (sd > 0).all():
        return 0.0, float("inf")
    z = (observed - sums.mean(axis=0)) / sd
    if not z.mean() > 0:
        return 0.0, float("inf")
    # with k times the facts the mean of z grows by √k, its spread and the critical value stay
    factor = ((critical + norm.ppf(0.9) * z.std()) / z.mean()) ** 2
    return float((z >= critical).mean()), float(factor)


def _taken(tables: Tables, slots: np.ndarray) -> Float[np.ndarray, "dealing row"]:
    """The value of each row in the slot that it is dealt."""
    cuts = np.cumsum([len(table) for table in tables])[:-1]
    parts = zip(tables, np.split(slots, cuts, axis=1), strict=True)
    return np.concatenate([np.nan_to_num(table)[np.arange(len(table)), part] for table, part in parts], axis=1)


def _subsets(n_rows: int, share: float, n: int, rng: np.random.Generator) -> Bool[np.ndarray, "mixture row"]:
    """Random subsets of the rows, of the size of the share (rounded at random)."""
    order = rng.random((n, n_rows)).argsort(axis=1).argsort(axis=1)
    return order < np.floor(share * n_rows + rng.random(n))[:, None]
