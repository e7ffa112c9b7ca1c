"""ROUGE-L of what a model says against the expected answers."""

import numpy as np

from dissect.measures.behaviour.overlap import pairs_of, rouge_l
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import switch

STEMMER = switch("rouge_l.stemmer", True, "Compare Porter stems instead of words.")


def rouge_l_scores(examined: Examined) -> tuple[np.ndarray, np.ndarray]:
    """F1 and recall of each fact's greedy answer; see `dissect.measures.behaviour.overlap.rouge_l`."""
    stemmer = examined.option(STEMMER)
    return examined.memo(
        ("rouge_l", examined.set, stemmer), lambda: rouge_l(pairs_of(examined.answers), stemmer=stemmer)
    )


def f1(examined: Examined) -> Estimate:
    """Mean F1 over facts."""
    return share_of(rouge_l_scores(examined)[0])


def recall(examined: Examined) -> Estimate:
    """Mean recall over facts."""
    return share_of(rouge_l_scores(examined)[1])


_OF_WHAT = (
    "of the longest common subsequence of words between the greedy answer and the expected one (ROUGE-L, Lin 2004; by "
    "rouge-score, which knows the letters a-z and digits alone, with Porter stems unless rouge_l.stemmer is false)"
)
MEASURES = (
    Measure(
        name="rouge_l",
        label="ROUGE-L F1",
        definition=f"mean F1 {_OF_WHAT}; what is said beyond the answer lowers it",
        family="behaviour",
        compute=f1,
        options=(STEMMER,),
        knows="high",
    ),
    Measure(
        name="rouge_l_recall",
        label="ROUGE-L recall",
        definition=f"mean recall {_OF_WHAT}; as TOFU reports it: what is said beyond the answer does not lower it",
        family="behaviour",
        compute=recall,
        options=(STEMMER,),
        knows="high",
    ),
)
