"""TOFU's forget quality: can the model be told from one that never saw the facts?"""

import numpy as np
from scipy import stats

from dissect.errors import Undefined
from dissect.measures.behaviour.alternatives import log_truth_ratio
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure


def forget_quality(subject: Subject) -> Estimate:
    """p-value of the two-sample Kolmogorov-Smirnov test between truth ratios of this model and of the retrained one.

    The logarithms of the ratios are compared, which keep the order and do not overflow.

    Raises:
        Undefined: no retrained model, or no wrong answers.
    """
    retrained = subject.retain
    own, other = (_finite(log_truth_ratio(one)) for one in (subject, retrained))
    return Estimate(float(stats.ks_2samp(own, other).pvalue), len(own))


def _finite(log_ratios: np.ndarray) -> np.ndarray:
    found = log_ratios[~np.isnan(log_ratios)]
    if not len(found):
        raise Undefined("the truth ratio is defined for none of the facts")
    return found


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
    sets=("forget",),
)
