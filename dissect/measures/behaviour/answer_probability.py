"""The probability that a model gives to the expected answers, for each token."""

import numpy as np

from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure


def answer_probability(examined: Examined) -> Estimate:
    """Mean over facts of p(answer)^(1/tokens) = exp(mean log p): the geometric mean over the answer's tokens."""
    scores = examined.scores
    return mean_of(np.exp(scores.per_row(scores.logprob)))


MEASURE = Measure(
    name="answer_probability",
    label="probability of the answer, per token",
    definition=(
        "mean over facts of p(answer | question)^(1/|answer|), the geometric mean of the probabilities of the answer's "
        "tokens, without an end of text (TOFU's probability, which counts that one too; Maini et al. 2024)"
    ),
    family="behaviour",
    compute=answer_probability,
    knows="high",
)
