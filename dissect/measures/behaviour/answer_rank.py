"""Ranks of the expected answers' tokens in a model's vocabulary."""

import numpy as np

from dissect.measures.estimate import Estimate, mean_of, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure


def mean_rank(examined: Examined) -> Estimate:
    """Mean over facts of the mean rank of the answer's tokens."""
    return mean_of(_ranks(examined))


def median_rank(examined: Examined) -> Estimate:
    """Median over facts of the mean rank of the answer's tokens."""
    return statistic_of([_ranks(examined)], np.median)


def _ranks(examined: Examined) -> np.ndarray:
    return examined.scores.per_row(examined.scores.rank)


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
