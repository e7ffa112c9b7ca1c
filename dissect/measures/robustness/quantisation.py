"""Quantisation: what rounding the weights to 8 or 4 bits brings back, or takes (Zhang et al., arXiv:2410.16454)."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.models.changing.quantised import quantised
from dissect.models.changing.rounding import FORMATS
from dissect.reading.token_scores import TokenScores
from dissect.statistics.bootstrap import of_sums
from dissect.statistics.relative_difference import agreement

NONE, HEADLINE = "none", "nf4"
PROBABILITY, EXACT = "answer probability", "exact match"

Items = Float[np.ndarray, " fact"]


def quantisation(examined: Examined) -> list[Estimate]:
    """Answer probability and exact match unrounded and in each format; for forget facts what returns, and Q."""
    return list(_estimates(examined))


def _estimates(examined: Examined) -> Iterator[Estimate]:
    before = _items(examined.scores)
    missing = _missing(examined, before)
    for format in (NONE, *FORMATS):
        if format == NONE:
            scored = before
        else:
            with quantised(examined.model, format):
                scored = _items(examined.scored(examined.prompts))
        if format == HEADLINE:
            yield share_of(scored[PROBABILITY])
        for of, items in scored.items():
            yield share_of(items, format=format, of=of)
        if format == NONE or examined.set != "forget":
            continue
        if missing is not None:
            yield _returned(scored[PROBABILITY] - before[PROBABILITY], missing, format, examined.settings.seed)
        means = [float(each[PROBABILITY].mean()) for each in (before, scored)]
        yield Estimate(agreement(*means), len(before[PROBABILITY]), at={"format": format, "of": "Q"})


def _items(scores: TokenScores) -> dict[str, Items]:
    exact = np.array([float((ranks == 1).all()) for ranks in scores.split(scores.rank)])
    return {PROBABILITY: np.exp(scores.per_row(scores.logprob)), EXACT: exact}


def _missing(examined: Examined, before: dict[str, Items]) -> Items | None:
    """Probability of each answer that the base model has more; None for the base model, and where none was given."""
    try:
        base = examined.base
    except Undefined:
        return None
    return None if base.model is examined.model else _items(base.scores)[PROBABILITY] - before[PROBABILITY]


def _returned(gained: Items, missing: Items, format: str, seed: int) -> Estimate:
    """Σ (after - before) / Σ (base - before)."""
    columns = np.stack([gained, missing], axis=1)
    value = float(gained.sum() / missing.sum()) if missing.sum() else float("nan")
    low, high = of_sums(columns, lambda sums: sums[..., 0] / sums[..., 1], seed=seed)
    return Estimate(value, len(gained), low, high, at={"format": format, "of": "share that returns"})


MEASURE = Measure(
    name="quantisation",
    label="answer probability in 4 bits",
    definition=(
        "probability of an answer (exp of the mean log p of its tokens) with all matrices of attention and MLPs "
        "rounded to NF4 as bitsandbytes does it; on the way, that and exact match unrounded, in int8 (a scale a row), "
        "int4 (a scale for 128 weights) and NF4. For forget facts the share that returns, (after - before) / (base - "
        "before) of the means, and Q = 1 - |after - before| / (after + before) of the UDS paper (arXiv:2605.24614)"
    ),
    family="robustness",
    compute=quantisation,
    sets=("forget", "retain"),
    knows="high",
)
