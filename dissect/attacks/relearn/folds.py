"""Which facts are trained on and which are tested: facts about one subject stay together."""

import logging
import random

import numpy as np
from jaxtyping import Int

from dissect.data.facts import Facts
from dissect.errors import DissectError

log = logging.getLogger(__name__)


def groups_of(facts: Facts, by: str | None) -> Int[np.ndarray, " fact"]:
    """Return the group of each fact: facts with the same ``extra[by]``; a fact without it is a group of its own."""
    keys = [fact.extra.get(by) if by is not None else None for fact in facts]
    if by is not None and all(key is None for key in keys):
        log.warning("no fact has %r: each is held out on its own, even from others about the same subject", by)
    numbers: dict[str, int] = {}
    named = [f"fact {i}" if key is None else f"key {key!r}" for i, key in enumerate(keys)]
    return np.array([numbers.setdefault(name, len(numbers)) for name in named])


def folds_of(groups: Int[np.ndarray, " fact"], n_folds: int, *, seed: int) -> Int[np.ndarray, " fact"]:
    """Return the fold that holds out each fact, 0 to ``n_folds`` - 1: whole groups, about as many facts in each.

    Raises:
        DissectError: fewer groups than folds.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < n_folds:
        raise DissectError(
            f"{len(names)} groups of facts cannot be cut into {n_folds} folds: give facts about more subjects, or "
            "by=None to hold out single facts"
        )
    filled, fold_of = [0] * n_folds, {}
    for number in random.Random(seed).sample(range(len(names)), len(names)):
        fold = filled.index(min(filled))
        fold_of[int(names[number])] = fold
        filled[fold] += int(sizes[number])
    return np.array([fold_of[int(group)] for group in groups])
