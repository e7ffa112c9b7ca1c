"""TOFU's truth ratio: whether wrong answers are as likely as the right one."""

import numpy as np

from dissect.measures.behaviour.alternatives import AVERAGE, log_truth_ratio
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import FACT_SETS, Measure

TO_FORGET = ("forget", "paraphrased", "held_out")
"""The sets where knowing nothing is the aim."""


def truth_ratio_scores(examined: Examined) -> np.ndarray:
    """TOFU's score of each fact: min(R, 1/R) on facts to be forgotten, max(0, 1 - R) on others; NaN without R."""
    log_ratio = log_truth_ratio(examined)
    if examined.set in TO_FORGET:
        return np.exp(-np.abs(log_ratio))
    return np.maximum(0.0, -np.expm1(np.minimum(log_ratio, 0.0)))


def truth_ratio(examined: Examined) -> Estimate:
    """Mean over facts."""
    return mean_of(truth_ratio_scores(examined))


MEASURE = Measure(
    name="truth_ratio",
    label="truth ratio",
    definition=(
        "R = mean over the wrong answers ('perturbed') of p(wrong)^(1/|wrong|), over p(a)^(1/|a|) of the answer in "
        "other words ('paraphrased_answer', or the answer itself); on facts to be forgotten the mean of min(R, 1/R), "
        "where 1 says that wrong is as likely as right, on all others of max(0, 1 - R), where 1 says that the truth is "
        "known (TOFU, Maini et al. 2024; truth_ratio.average=geometric takes the mean of logarithms, as TOFU's "
        "published code and open-unlearning do)"
    ),
    family="behaviour",
    compute=truth_ratio,
    options=(AVERAGE,),
    sets=(*FACT_SETS, "real_authors", "world_facts"),
)
