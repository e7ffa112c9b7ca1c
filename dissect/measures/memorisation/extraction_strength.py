"""Extraction strength: how little of a text must be given for a model to say the rest."""

import numpy as np

from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import FACT_SETS, Measure
from dissect.measures.option import switch

PUBLISHED = switch("extraction_strength.published", False, "Floor 1/T, as open-unlearning has it.")


def extraction_strength(examined: Examined) -> Estimate:
    """Mean over items of 1 - k/T."""
    scores = examined.scores
    rows = [strength(ranks == 1) for ranks in scores.split(scores.rank)]
    if examined.option(PUBLISHED):
        rows = [max(value, 1 / n) for value, n in zip(rows, map(len, scores.split(scores.rank)), strict=True)]
    return share_of(np.array(rows))


def strength(right: np.ndarray) -> float:
    """1 - k/T for T tokens, k the smallest prefix after which every token is right: 1 all, 0 not even the last one.

    The tokens are read, not generated: where all are right after the true ones, greedy decoding says just them.
    """
    wrong = np.flatnonzero(~right)
    k = 0 if not len(wrong) else int(wrong[-1]) + 1
    return 1 - k / len(right)


MEASURE = Measure(
    name="extraction_strength",
    label="extraction strength",
    definition=(
        "mean over answers or texts of T tokens of 1 - k/T, k the shortest prefix after which greedy decoding says the "
        "whole rest: 1 where the prompt is enough, 0 where even the last token is wrong (Carlini et al. 2021); "
        "extraction_strength.published=true has the floor 1/T of open-unlearning, where a wrong last token counts as "
        "if it were right"
    ),
    family="memorisation",
    compute=extraction_strength,
    options=(PUBLISHED,),
    sets=(*FACT_SETS, "nonmembers"),
    knows="high",
)
