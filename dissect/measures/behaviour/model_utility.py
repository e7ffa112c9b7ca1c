"""TOFU's model utility: one number for what was to be retained."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from dissect.errors import Undefined
from dissect.measures.behaviour.alternatives import AVERAGE, choice_probability
from dissect.measures.behaviour.rouge_l import STEMMER, rouge_l_scores
from dissect.measures.behaviour.truth_ratio import truth_ratio_scores
from dissect.measures.estimate import Estimate, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure

TOFU_SETS = ("retain", "real_authors", "world_facts")
OWN_SETS = ("retain", "unrelated")
CHOICES = ("real_authors", "world_facts")
"""The sets whose probability TOFU takes among the wrong answers."""


def model_utility(examined: Examined) -> Estimate:
    """Harmonic mean over sets and scores; its interval draws the facts of a set once for all the set's scores.

    Raises:
        Undefined: a set whose answers cannot be scored.
    """
    wanted = TOFU_SETS if all(name in examined.sets for name in TOFU_SETS) else OWN_SETS
    sets = [name for name in wanted if name in examined.sets]
    scores = {name: _scores(examined.on(name)) for name in sets}
    tables = [np.array(list(of_set.values())) for of_set in scores.values()]

    def utility(*chosen: np.ndarray, axis: int = -1) -> Any:
        means = [
            np.nanmean(row[rows.astype(np.int64)], axis)
            for table, rows in zip(tables, chosen, strict=True)
            for row in table
        ]
        return stats.hmean(np.maximum(means, 0.0), axis=0)

    entered = "; ".join(f"{', '.join(of_set)} of {name}" for name, of_set in scores.items())
    every = [np.arange(table.shape[1]) for table in tables]
    return statistic_of(every, utility, n=sum(map(len, tables)), unit=f"means ({entered})")


def _scores(examined: Examined) -> dict[str, np.ndarray]:
    """TOFU's scores of each fact, without those that no fact has."""
    scores = {
        "probability": _probability(examined),
        "ROUGE-L recall": rouge_l_scores(examined)[1],
        "truth ratio": _defined(lambda: truth_ratio_scores(examined)),
    }
    return {name: values for name, values in scores.items() if values is not None and not np.isnan(values).all()}


def _probability(examined: Examined) -> np.ndarray:
    among = _defined(lambda: choice_probability(examined)) if examined.set in CHOICES else None
    return np.exp(examined.scores.per_row(examined.scores.logprob)) if among is None else among


def _defined(compute: Callable[[], np.ndarray]) -> np.ndarray | None:
    try:
        return compute()
    except Undefined:
        return None


MEASURE = Measure(
    name="model_utility",
    label="model utility",
    definition=(
        "harmonic mean of the means of probability, ROUGE-L recall and truth ratio max(0, 1 - R) over the facts of "
        "each set: TOFU's nine (Maini et al. 2024) where the sets retain, real_authors and world_facts are given, of "
        "which the last two have the probability among the wrong answers; else of retain and unrelated. Scores that "
        "no fact of a set has, as the truth ratio without wrong answers, are left out: 'unit' says what went in, n "
        "how many means"
    ),
    family="behaviour",
    compute=model_utility,
    options=(AVERAGE, STEMMER),
    sets=("retain",),
    knows="high",
)
