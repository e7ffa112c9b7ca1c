"""Perplexity of the scored tokens of texts."""

from typing import Any

import numpy as np

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure


def perplexity_of_texts(examined: Examined) -> Estimate:
    """Perplexity of plain texts, a ratio of sums; its interval draws whole texts.

    Raises:
        Undefined: facts that are not plain texts.
    """
    if any(fact.kind != "text" for fact in examined.facts):
        raise Undefined("it needs plain texts, and these are questions or prompts: see answer_probability for those")
    parts = examined.scores.split(examined.scores.logprob)
    surprise, n_tokens = np.array([-part.sum() for part in parts]), np.array([len(part) for part in parts])

    def ratio(chosen: np.ndarray, axis: int = -1) -> Any:
        rows = chosen.astype(np.int64)
        with np.errstate(over="ignore"):
            return np.exp(surprise[rows].sum(axis) / n_tokens[rows].sum(axis))

    return statistic_of([np.arange(len(parts))], ratio, unit="texts")


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
