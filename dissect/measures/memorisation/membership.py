"""Membership scores: telling texts that a model was trained on from others by their log-probabilities."""

import zlib
from collections.abc import Callable

import numpy as np
from scipy import stats

from dissect.errors import Undefined
from dissect.measures.examined import Examined
from dissect.measures.option import number

K = number("mia.k", 0.4, "Share of tokens that Min-K% reads.", "a share above 0 and up to 1", lambda k: 0 < k <= 1)
SMALLEST_DEVIATION = 1e-3
"""Smallest deviation of log p by which Min-K%++ divides: the square root of open-unlearning's smallest variance."""


def loss(examined: Examined) -> np.ndarray:
    """Mean log p of the tokens (Yeom et al. 2018)."""
    scores = examined.scores
    return scores.per_row(scores.logprob)


def zlib_loss(examined: Examined) -> np.ndarray:
    """Mean log p over the bytes of the answer or text, compressed by zlib (Carlini et al. 2021)."""
    sizes = [len(zlib.compress(text.encode())) for text in examined.prompts.answer_texts]
    return loss(examined) / np.array(sizes)


def min_k(examined: Examined) -> np.ndarray:
    """Mean log p of the share ``mia.k`` of tokens with the lowest (Min-K%, Shi et al. 2024)."""
    return np.array([_lowest(part, _share(examined)) for part in examined.scores.split(examined.scores.logprob)])


def min_k_plus_plus(examined: Examined) -> np.ndarray:
    """`min_k` of log p less its mean under the model, over its deviation (Min-K%++, Zhang et al. 2025)."""
    scores = examined.scores
    standard = (scores.logprob - scores.mean) / np.maximum(scores.deviation, SMALLEST_DEVIATION)
    return np.array([_lowest(part, _share(examined)) for part in scores.split(standard)])


ATTACKS: dict[str, Callable[[Examined], np.ndarray]] = {
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


def both_classes(examined: Examined, attack: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the forget facts, which are the members, and of the set ``nonmembers``.

    Raises:
        Undefined: no non-members were given.
    """
    if "nonmembers" not in examined.sets:
        raise Undefined("there is only one class: give facts that no model saw as nonmembers=...")
    return ATTACKS[attack](examined), ATTACKS[attack](examined.on("nonmembers"))


def _share(examined: Examined) -> float:
    return float(examined.option(K))


def _lowest(values: np.ndarray, share: float) -> float:
    """The mean of the lowest share of values, at least one of them."""
    return float(np.sort(values)[: max(1, int(len(values) * share))].mean())
