"""The probability that a model gives to the expected answers, for each token."""

import numpy as np

from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of


def answer_probability(subject: Subject) -> Estimate:
    """Mean over facts of p(answer)^(1/tokens) = exp(mean log p): the geometric mean over the answer's tokens."""
    scores = subject.scores
    return mean_of(np.exp(scores.per_row(scores.logprob)), seed=subject.settings.seed)


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
