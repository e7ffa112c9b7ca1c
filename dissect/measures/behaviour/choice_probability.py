"""Probability of the right answer among wrong ones."""

from dissect.measures.behaviour.alternatives import choice_probability
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import FACT_SETS, Measure


def mean_choice_probability(examined: Examined) -> Estimate:
    """Mean over facts."""
    return mean_of(choice_probability(examined))


MEASURE = Measure(
    name="choice_probability",
    label="probability among the wrong answers",
    definition=(
        "mean over facts of P(a) / (P(a) + sum of P over the wrong answers in 'perturbed'), P = p^(1/tokens): one over "
        "their number is guessing; TOFU's probability for real authors and world facts"
    ),
    family="behaviour",
    compute=mean_choice_probability,
    sets=(*FACT_SETS, "real_authors", "world_facts"),
    knows="high",
)
