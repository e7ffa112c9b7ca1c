"""Forced choice: how far a row's own answer stands above the others, under any pairing of rows and answers.

Z_ij = S_ij - mean_j S_ij - mean_i S_ij + mean S takes out how easy a question is and how popular or long an answer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from dissect.pairing.block import Block

Statistic = Literal["share below", "rank score", "log-softmax"]
"""The quantity that the exact test adds up over facts; see `Compared`."""


@dataclass(frozen=True)
class Compared:
    """Every row of a block in every slot; rows that could not be asked, and slots a row cannot have, are NaN."""

    below: Float[np.ndarray, "row slot"]
    """Share of the foils that lie below the slot's answer, ties half: one half is chance, 1 is knowing."""
    score: Float[np.ndarray, "row slot"]
    """-log(r / (m + 1)) with r the place among m foils, 1 the highest, ties in the middle: higher is better known."""
    logp: Float[np.ndarray, "row slot"]
    """log of the answer's share of the softmax over itself and its foils. Its sum over facts is, where every other
    answer is a foil, Σ S of the own answers and a constant: neither the centring nor the unit of S matters to z."""

    def of(self, statistic: Statistic) -> Float[np.ndarray, "row slot"]:
        """The values that a statistic adds up."""
        return {"share below": self.below, "rank score": self.score, "log-softmax": self.logp}[statistic]


def centred(scores: Float[np.ndarray, "row column"], block: Block) -> Float[np.ndarray, "row column"]:
    """Z; of given foils, which no two rows share, the row mean alone is taken off. Incomplete rows are NaN."""
    expected = block.sheet.expected
    table = np.where(expected, np.asarray(scores, dtype=np.float64), np.nan)
    lacking = (~np.isfinite(table) & expected).any(axis=1)
    table[lacking] = np.nan
    if lacking.all():
        return table
    table[~lacking] -= np.nanmean(table[~lacking], axis=1, keepdims=True)
    if block.sheet.kind != "foils":
        table[~lacking] -= table[~lacking].mean(axis=0)
    return table


def compare(scores: Float[np.ndarray, "row column"], block: Block) -> Compared:
    """Compare a block's scores.

    Args:
        scores: S of its sheet, in any unit in which higher is a better fit.
        block: says which columns are compared.
    """
    z = centred(scores, block)
    own = z[:, block.own]  # (row, slot)
    columns = np.isfinite(z)[:, None, :] & block.foils[None]  # (row, slot, column)
    valid = np.isfinite(own) & columns.any(axis=2)
    lower = (z[:, None, :] < own[:, :, None]) & columns
    equal = (z[:, None, :] == own[:, :, None]) & columns
    n = columns.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        rank = n - lower.sum(axis=2) - equal.sum(axis=2) / 2 + 1
        below = (n + 1 - rank) / n
        score = -np.log(rank / (n + 1))
        others = np.where(columns, z[:, None, :], -np.inf)
        logp = own - np.logaddexp(own, np.logaddexp.reduce(others, axis=2))
    return Compared(*(np.where(valid, each, np.nan) for each in (below, score, logp)))


def of_truth(values: Float[np.ndarray, "row slot"], block: Block) -> Float[np.ndarray, " row"]:
    """Values of the rows in the slots in which they are."""
    return values[np.arange(len(values)), block.slot]
