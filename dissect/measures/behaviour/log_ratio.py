"""log R of TOFU's truth ratio, kept fact by fact: what forget quality compares, so that it can be stored."""

from dissect.measures.behaviour.alternatives import AVERAGE, log_truth_ratio
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure


def mean_log_ratio(examined: Examined) -> Estimate:
    """Mean over facts; its items are what forget quality compares."""
    return mean_of(log_truth_ratio(examined))


MEASURE = Measure(
    name="log_truth_ratio",
    label="log of the truth ratio R",
    definition=(
        "mean over facts of log R, R as in the truth ratio: 0 where wrong answers are as likely as the right one, "
        "below in a model that knows. Stored by an evaluation of the retrained model, its values are what "
        "forget_quality.stored takes in that model's place"
    ),
    family="behaviour",
    compute=mean_log_ratio,
    options=(AVERAGE,),
    sets=("forget",),
    knows="low",
    slow=True,
)
