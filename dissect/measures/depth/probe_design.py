"""Which facts a probe learns from and which it is tested on: never the same fact on both sides."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from dissect.data.fact import Fact
from dissect.errors import Undefined

N_FOLDS = 5
MIN_MEMBERS = 3
"""A class needs so many facts to be learnt, in its group."""
MIN_TESTED = 10
"""So many facts must be testable in all."""


@dataclass(frozen=True, eq=False)
class Split:
    """One probe: indexes into the pool of facts."""

    train: Int[np.ndarray, " _"]
    test: Int[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class Design:
    """All probes of one layer. The pool is the facts of ``others``, if any, then those that are measured."""

    splits: tuple[Split, ...]
    labels: np.ndarray
    """Answers of the whole pool."""
    n_others: int
    """Facts of the pool in front of the measured ones."""

    @property
    def n_measured(self) -> int:
        """Facts that are measured; not all of them need be testable."""
        return len(self.labels) - self.n_others

    def per_fact(self, right: Callable[[int, Split], np.ndarray]) -> np.ndarray:
        """``right(number, split)`` of every split, for its test facts, as one value a measured fact; NaN elsewhere."""
        correct = np.full(self.n_measured, np.nan)
        for number, split in enumerate(self.splits):
            correct[split.test - self.n_others] = right(number, split)
        return correct


def design(facts: Sequence[Fact], others: Sequence[Fact] | None, *, seed: int = 0) -> Design:
    """Learn from ``others`` and test on ``facts``; without others, learn from four fifths of the facts at a time.

    Facts of one ``attribute`` or ``relation`` (in ``extra``) form a group with probes of its own, all other facts one
    more; the class of a fact is its answer. Others that are among the facts themselves (the same subject, or the same
    wording, in the same group) are not learnt from. In the folds a subject stands on one side only, and each class is
    spread over them as evenly as it can be.

    Raises:
        Undefined: plain texts, or fewer than `MIN_TESTED` facts whose answer `MIN_MEMBERS` others share.
    """
    pool = [*(others or ()), *facts]
    if any(fact.target is None for fact in pool):
        raise Undefined("a probe predicts the answer, and some facts have none: give questions with answers")
    n_others = len(pool) - len(facts)
    labels = np.array([str(fact.target).strip() for fact in pool])
    groups = np.array([_group(fact) for fact in pool])
    units = np.array([_unit(fact) for fact in pool])
    splits: list[Split] = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        if others is None:
            splits += _folds(members, labels, units, seed)
        else:
            splits += _from_others(members[members < n_others], members[members >= n_others], labels, units)
    if sum(len(split.test) for split in splits) < MIN_TESTED:
        source = "the retain facts" if others is not None else "these facts"
        raise Undefined(
            f"answers have to recur, and {source} have fewer than {MIN_TESTED} facts to test with an answer that "
            f"{MIN_MEMBERS} others share: give more facts of each relation (extra 'attribute' or 'relation')"
        )
    return Design(tuple(splits), labels, n_others)


def _from_others(train: np.ndarray, test: np.ndarray, labels: np.ndarray, units: np.ndarray) -> list[Split]:
    return _usable(train[~np.isin(units[train], units[test])], test, labels)


def _folds(members: np.ndarray, labels: np.ndarray, units: np.ndarray, seed: int) -> list[Split]:
    counts = Counter(labels[members].tolist())
    members = np.array([i for i in members if counts[labels[i]] > MIN_MEMBERS], dtype=np.int64)
    names, first = np.unique(units[members], return_index=True)
    # dealt like cards, class after class: the members of a class go to different folds
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(labels[members[first]][shuffled], kind="stable")]
    fold_of = dict(zip(names[order].tolist(), (np.arange(len(names)) % N_FOLDS).tolist(), strict=True))
    folds = np.array([fold_of[unit] for unit in units[members].tolist()])
    return [
        split for fold in range(N_FOLDS) for split in _usable(members[folds != fold], members[folds == fold], labels)
    ]


def _usable(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> list[Split]:
    """The split without classes that cannot be learnt; nothing where fewer than two can, or nothing is tested."""
    counts = Counter(labels[train].tolist())
    known = [label for label, count in counts.items() if count >= MIN_MEMBERS]
    train, test = train[np.isin(labels[train], known)], test[np.isin(labels[test], known)]
    return [Split(train, test)] if len(known) > 1 and len(test) else []


def _group(fact: Fact) -> str:
    return str(fact.extra.get("attribute", fact.extra.get("relation", "")))


def _unit(fact: Fact) -> str:
    """Return what may not stand on both sides: the subject, or else the wording."""
    return str(fact.extra.get("subject", getattr(fact, fact.kind)))
