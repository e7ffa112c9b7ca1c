"""Whether texts that a model was trained on can be told from others by what it gives to their tokens."""

import zlib
from collections.abc import Callable

import numpy as np
from scipy import stats

from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Subject

SMALLEST_DEVIATION = 1e-3
"""Of log p, below which Min-K%++ does not divide: the square root of open-unlearning's smallest variance."""


def loss(subject: Subject) -> np.ndarray:
    """Mean log p of the tokens (Yeom et al. 2018)."""
    scores = subject.scores
    return scores.per_row(scores.logprob)


def zlib_loss(subject: Subject) -> np.ndarray:
    """Mean log p over the bytes of the answer or text, compressed by zlib (Carlini et al. 2021)."""
    sizes = [len(zlib.compress(text.encode())) for text in subject.prompts.answer_texts]
    return loss(subject) / np.array(sizes)


def min_k(subject: Subject) -> np.ndarray:
    """Mean log p of the share ``mia.k`` of tokens with the lowest (Min-K%, Shi et al. 2024)."""
    return np.array([_lowest(part, _share(subject)) for part in subject.scores.split(subject.scores.logprob)])


def min_k_plus_plus(subject: Subject) -> np.ndarray:
    """As `min_k` of log p less its mean under the model, over its deviation (Min-K%++, Zhang et al. 2025)."""
    scores = subject.scores
    standard = (scores.logprob - scores.mean) / np.maximum(scores.deviation, SMALLEST_DEVIATION)
    return np.array([_lowest(part, _share(subject)) for part in scores.split(standard)])


ATTACKS: dict[str, Callable[[Subject], np.ndarray]] = {
    "loss": loss,
    "zlib": zlib_loss,
    "min_k": min_k,
    "min_k_plus_plus": min_k_plus_plus,
}
"""Each gives a number for every item: the higher, the more it looks like one that was trained on."""


def auc(members: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    """Area under the ROC curve: the chance that a member's score is above that of another, ties counting half.

    The Mann-Whitney U statistic over the number of pairs; broadcasts over all axes but ``axis``.
    """
    n, m = members.shape[axis], others.shape[axis]
    ranks = stats.rankdata(np.concatenate([members, others], axis=axis), axis=axis)
    of_members = np.take(ranks, np.arange(n), axis=axis).sum(axis=axis)
    return np.asarray((of_members - n * (n + 1) / 2) / (n * m))


def both_classes(subject: Subject, attack: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the forget facts, which are the members, and of the set ``nonmembers``.

    Raises:
        DissectError: no such attack.
        Undefined: no non-members were given.
    """
    if attack not in ATTACKS:
        raise DissectError(f"no membership attack {attack!r}: choose from {', '.join(ATTACKS)}")
    if "nonmembers" not in subject.sets:
        raise Undefined("there is only one class: give facts that no model saw as nonmembers=...")
    return ATTACKS[attack](subject), ATTACKS[attack](subject.on("nonmembers"))


def _share(subject: Subject) -> float:
    share = subject.option("mia.k", 0.4)
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise DissectError(f"mia.k is the share of tokens that Min-K% reads, above 0 and up to 1, got {share!r}")
    return float(share)


def _lowest(values: np.ndarray, share: float) -> float:
    """The mean of the lowest share of values, at least one of them."""
    return float(np.sort(values)[: max(1, int(len(values) * share))].mean())
