"""TOFU's forget quality: whether the model can be told from one that never saw the facts."""

import numpy as np
from scipy import stats

from dissect.errors import Undefined
from dissect.measures.behaviour.alternatives import AVERAGE, log_truth_ratio
from dissect.measures.estimate import Estimate
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.stored_results import stored, stored_log_ratios

STORED = stored("forget_quality.stored", "Results of the retrained model, in its place: see log_truth_ratio.")


def forget_quality(examined: Examined) -> Estimate:
    """p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios of this model and the retrained one.

    It compares the logarithms of the ratios, which keep the order and do not overflow.

    Raises:
        Undefined: no retrained model and no stored results of one, or no wrong answers.
    """
    path = examined.option(STORED)
    other = _finite(stored_log_ratios(str(path)) if path else log_truth_ratio(examined.retrained))
    own = _finite(log_truth_ratio(examined))
    return Estimate(float(stats.ks_2samp(own, other).pvalue), len(own))


def _finite(log_ratios: np.ndarray) -> np.ndarray:
    defined = log_ratios[~np.isnan(log_ratios)]
    if not len(defined):
        raise Undefined("the truth ratio is defined for none of the facts")
    return defined


MEASURE = Measure(
    name="forget_quality",
    label="forget quality (p-value)",
    definition=(
        "p-value of a two-sample Kolmogorov-Smirnov test between the truth ratios R of the forget facts in this model "
        "and in one trained without them: near 1 they cannot be told apart, near 0 they can, whether too little was "
        "forgotten or too much; it falls with the number of facts (TOFU, Maini et al. 2024; published values average "
        "wrong answers by truth_ratio.average=geometric)"
    ),
    family="behaviour",
    compute=forget_quality,
    options=(AVERAGE, STORED),
    sets=("forget",),
)
