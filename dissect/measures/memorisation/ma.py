"""Memorisation accuracy: the share of a text's tokens that a model predicts."""

from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import FACT_SETS, Measure


def memorisation_accuracy(examined: Examined) -> Estimate:
    """Mean over items of the share of tokens that have rank 1 after those before them."""
    scores = examined.scores
    return share_of(scores.per_row(scores.rank == 1))


MEASURE = Measure(
    name="ma",
    label="memorisation accuracy (MA)",
    definition=(
        "mean over answers or texts of the share of their tokens that are the most likely ones after the true tokens "
        "before them (Tirumala et al. 2022; Jang et al. 2023); open-unlearning's exact memorisation is the same "
        "number: neither counts an end of text"
    ),
    family="memorisation",
    compute=memorisation_accuracy,
    sets=(*FACT_SETS, "nonmembers"),
    knows="high",
)
