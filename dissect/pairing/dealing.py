"""Who may be re-dealt with whom: whole subjects that have facts in the same groups, within one fold and one run.

Under the null hypothesis the model knows nothing of who belongs to what, so the answers could as well have been dealt
among the subjects in any other way: a statistic of the true dealing is one draw of those of all dealings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from jaxtyping import Int

CHUNK = 512
"""Re-dealings that are in memory at once."""


@dataclass(frozen=True)
class Move:
    """Members that change places: row r of member a takes ``tables[a][r][b]`` where a is dealt b's place."""

    tables: tuple[dict[int, Int[np.ndarray, " member"]], ...]
    """For each member, by global row, the slot for each place."""
    apart: bool = False
    """Each row draws its slot on its own, with replacement, instead (given foils)."""

    @property
    def log_count(self) -> float:
        """Natural logarithm of the number of dealings."""
        if self.apart:
            return sum(log(len(table)) for tables in self.tables for table in tables.values())
        return lgamma(len(self.tables) + 1)


@dataclass(frozen=True)
class Dealing:
    """All moves, over the rows of all blocks behind each other."""

    moves: tuple[Move, ...]
    truth: Int[np.ndarray, " row"]
    """The slot in which each row is; rows that no move holds stay there."""

    @property
    def log_count(self) -> float:
        """Natural logarithm of the number of different dealings."""
        return sum(move.log_count for move in self.moves)

    def draws(self, n: int, *, seed: int) -> Iterator[Int[np.ndarray, "draw row"]]:
        """``n`` dealings at random, some at a time: the slot of each row."""
        rng = np.random.default_rng(seed)
        for first in range(0, n, CHUNK):
            size = min(CHUNK, n - first)
            slots = np.tile(self.truth, (size, 1))
            for move in self.moves:
                if move.apart:
                    for tables in move.tables:
                        for row, table in tables.items():
                            slots[:, row] = table[rng.integers(len(table), size=size)]
                    continue
                places = rng.permuted(np.tile(np.arange(len(move.tables)), (size, 1)), axis=1)
                for member, tables in enumerate(move.tables):
                    for row, table in tables.items():
                        slots[:, row] = table[places[:, member]]
            yield slots


def cut(subjects: Sequence[str], most: int) -> list[list[str]]:
    """Runs of about equal size, none above ``most``."""
    count = max(1, -(-len(subjects) // most))
    return [list(run) for run in np.array_split(np.array(subjects, dtype=object), count)]


def in_folds(classes: Sequence[Sequence[str]], n_folds: int) -> dict[str, int]:
    """The fold of each subject: classes of at least two a fold are dealt over all of them, smaller ones stay whole."""
    filled, fold_of = [0] * n_folds, {}
    for members in classes:
        whole = len(members) < 2 * n_folds
        start = int(np.argmin(filled))
        for nth, subject in enumerate(members):
            fold = start if whole else (start + nth) % n_folds
            fold_of[subject] = fold
            filled[fold] += 1
    return fold_of
