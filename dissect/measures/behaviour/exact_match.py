"""Exact match: answers that are repeated word for word."""

import numpy as np

from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure


def exact_match(examined: Examined) -> Estimate:
    """Share of facts whose expected answer is exactly the beginning of the model's greedy continuation.

    That is so if and only if, reading the answer, each of its tokens has rank 1 where it is predicted.
    """
    scores = examined.scores
    hits = np.array([float((ranks == 1).all()) for ranks in scores.split(scores.rank)])
    return share_of(hits)


MEASURE = Measure(
    name="exact_match",
    label="exact match",
    definition="share of facts whose expected answer is exactly the beginning of the greedy continuation",
    family="behaviour",
    compute=exact_match,
    knows="high",
)
