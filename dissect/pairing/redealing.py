"""The exact test: a statistic of the true pairing among those of re-dealt ones, for several attacks at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dissect.pairing.dealing import Dealing

REDEALINGS = 9_999
"""Re-dealings drawn: the smallest p is 1 in ten thousand."""
_ROUNDING = 1e-9
"""Sums that differ by less, in standard deviations, are equal: one dealing adds up in several orders."""


@dataclass(frozen=True)
class Redealt:
    """Result of re-dealing for each attack, and for all together."""

    observed: Float[np.ndarray, " attack"]
    """The statistic of the true pairing: a mean over facts."""
    mean: Float[np.ndarray, " attack"]
    sd: Float[np.ndarray, " attack"]
    """Standard deviation of the re-dealt ones."""
    null: Float[np.ndarray, "draw attack"]
    """The re-dealt ones as z; NaN for an attack that gives the same whatever is dealt."""

    @property
    def z(self) -> Float[np.ndarray, " attack"]:
        """(observed - mean) / sd; NaN where nothing varies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.sd > 0, (self.observed - self.mean) / self.sd, np.nan)

    @property
    def p(self) -> Float[np.ndarray, " attack"]:
        """(1 + number of re-dealings at least as large) / (1 + all): exact, one-sided."""
        return _p(self.z, self.null)

    @property
    def highest(self) -> Float[np.ndarray, " draw"]:
        """The highest z over the attacks in each re-dealing."""
        return np.nanmax(self.null, axis=1) if np.isfinite(self.null).any() else np.zeros(len(self.null))

    @property
    def p_adjusted(self) -> Float[np.ndarray, " attack"]:
        """p against the highest z over all attacks in each re-dealing: holds for the whole panel."""
        return _p(self.z, np.broadcast_to(self.highest[:, None], self.null.shape))

    @property
    def p_panel(self) -> float:
        """The smallest adjusted p; 1 where nothing could be tested."""
        adjusted = self.p_adjusted
        return float(np.nanmin(adjusted)) if np.isfinite(adjusted).any() else 1.0

    @property
    def p_avoiding(self) -> float:
        """The other side: adjusted p of the attack with the lowest z."""
        if not np.isfinite(self.null).any():
            return 1.0
        lowest = np.nanmin(self.null, axis=1)
        return float((1 + (lowest <= np.nanmin(self.z) + _ROUNDING).sum()) / (1 + len(lowest)))

    def critical(self, alpha: float) -> float:
        """The z that the highest of the panel reaches with probability ``alpha`` or less under the null hypothesis."""
        return float(np.quantile(self.highest, 1 - alpha, method="higher"))


def redeal(
    tables: Sequence[Float[np.ndarray, "attack _ _"]],
    dealing: Dealing,
    *,
    n: int = REDEALINGS,
    seed: int = 0,
) -> Redealt:
    """Test each attack's statistic, with the same re-dealings for all of them.

    T = mean over facts of the value of each row in its slot; rows that are NaN for an attack are left out of it.

    Args:
        tables: for each block the values of every row in every slot, as `Compared` has them, stacked over attacks.
        dealing: who is re-dealt with whom.
        n: re-dealings.
        seed: of the re-dealings.
    """
    n_attacks = len(tables[0])
    counts = sum(np.isfinite(table).any(axis=2).sum(axis=1) for table in tables)
    filled = [np.nan_to_num(table) for table in tables]
    sums = np.concatenate([_sums(filled, slots) for slots in dealing.draws(n, seed=seed)])
    observed = _sums(filled, dealing.truth[None])[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed, sums = observed / counts, sums / counts
    mean, sd = sums.mean(axis=0), sums.std(axis=0)
    sd = np.where(sd > 1e-12 * np.maximum(1.0, np.abs(mean)), sd, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        null = np.where(sd > 0, (sums - mean) / sd, np.nan)
    assert null.shape == (n, n_attacks)
    return Redealt(observed, mean, sd, null)


def _sums(tables: Sequence[Float[np.ndarray, "attack _ _"]], slots: np.ndarray) -> Float[np.ndarray, "draw attack"]:
    """Sums over all rows in the slots that they are dealt."""
    total = np.zeros((len(slots), len(tables[0])))
    start = 0
    for table in tables:
        n_rows = table.shape[1]
        for row in range(n_rows):
            total += table[:, row, :].T[slots[:, start + row]]  # (draw, attack)
        start += n_rows
    return total


def _p(z: Float[np.ndarray, " attack"], null: Float[np.ndarray, "draw attack"]) -> Float[np.ndarray, " attack"]:
    at_least = (null >= z - _ROUNDING).sum(axis=0)
    return np.where(np.isfinite(z), (1 + at_least) / (1 + len(null)), np.nan)
