"""Perplexity of the scored tokens of texts."""

from typing import Any

import numpy as np

from dissect.errors import Undefined
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure
from dissect.statistics.bootstrap import bootstrap


def perplexity_of_texts(subject: Subject) -> Estimate:
    """`perplexity` of plain texts, with the interval of the ratio of sums as whole texts are drawn anew.

    Raises:
        Undefined: facts that are no plain texts.
    """
    if any(fact.kind != "text" for fact in subject.facts):
        raise Undefined("it is of plain texts, and these are questions or prompts: see answer_probability for those")
    parts = subject.scores.split(subject.scores.logprob)
    surprise, n_tokens = np.array([-part.sum() for part in parts]), np.array([len(part) for part in parts])

    def ratio(chosen: np.ndarray, axis: int = -1) -> Any:
        rows = chosen.astype(np.int64)
        with np.errstate(over="ignore"):
            return np.exp(surprise[rows].sum(axis) / n_tokens[rows].sum(axis))

    every = np.arange(len(parts))
    low, high = bootstrap([every], ratio, seed=subject.settings.seed)
    return Estimate(float(ratio(every)), len(parts), low, high, unit="texts")


MEASURE = Measure(
    name="perplexity",
    label="perplexity",
    definition=(
        "exp of the mean of -log p over all tokens of all texts, each text's first one excepted: 1 is certainty, the "
        "vocabulary's size guessing; long texts weigh more"
    ),
    family="behaviour",
    compute=perplexity_of_texts,
    sets=("texts", "forget", "retain", "nonmembers"),
    knows="low",
)
