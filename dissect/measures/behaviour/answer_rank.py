"""Ranks of the expected answers' tokens in a model's vocabulary."""

import numpy as np

from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.statistics.bootstrap import bootstrap


def mean_rank(subject: Subject) -> Estimate:
    """Mean over facts of the mean rank of the answer's tokens."""
    return mean_of(_ranks(subject), seed=subject.settings.seed)


def median_rank(subject: Subject) -> Estimate:
    """Median over facts of the mean rank of the answer's tokens."""
    ranks = _ranks(subject)
    low, high = bootstrap([ranks], np.median, seed=subject.settings.seed)
    return Estimate(float(np.median(ranks)), len(ranks), low, high)


def _ranks(subject: Subject) -> np.ndarray:
    return subject.scores.per_row(subject.scores.rank)


_RANK = (
    "of the mean rank of the answer's tokens, each where it is predicted after those before it: 1 is what greedy "
    "decoding takes, the size of the vocabulary the least likely"
)
MEASURES = (
    Measure(
        name="answer_rank",
        label="rank of the answer's tokens, mean",
        definition=f"mean over facts {_RANK}; a few facts far down the vocabulary decide it",
        family="behaviour",
        compute=mean_rank,
        knows="low",
    ),
    Measure(
        name="answer_rank_median",
        label="rank of the answer's tokens, median",
        definition=f"median over facts {_RANK}",
        family="behaviour",
        compute=median_rank,
        knows="low",
    ),
)
