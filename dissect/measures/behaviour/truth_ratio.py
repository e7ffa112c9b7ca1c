"""TOFU's truth ratio: whether wrong answers are as likely as the right one."""

import numpy as np

from dissect.measures.behaviour.alternatives import log_truth_ratio
from dissect.measures.examined import Subject
from dissect.measures.measure import FACT_SETS, Estimate, Measure, mean_of

TO_FORGET = ("forget", "paraphrased", "held_out")
"""The sets where knowing nothing is the aim."""


def truth_ratio_scores(subject: Subject) -> np.ndarray:
    """TOFU's score of each fact: min(R, 1/R) on facts to be forgotten, max(0, 1 - R) on others; NaN without R."""
    log_ratio = log_truth_ratio(subject)
    if subject.set in TO_FORGET:
        return np.exp(-np.abs(log_ratio))
    return np.maximum(0.0, -np.expm1(np.minimum(log_ratio, 0.0)))


def truth_ratio(subject: Subject) -> Estimate:
    """Mean over facts."""
    return mean_of(truth_ratio_scores(subject), seed=subject.settings.seed)


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
    sets=(*FACT_SETS, "real_authors", "world_facts"),
)
