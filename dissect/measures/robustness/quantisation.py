"""Quantisation: what rounding the weights to 8 or 4 bits brings back, or takes (Zhang et al., arXiv:2410.16454)."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from dissect.errors import Undefined
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.models.changing.quantised import quantised
from dissect.models.changing.rounding import FORMATS
from dissect.reading.token_scores import TokenScores
from dissect.statistics.bootstrap import of_sums
from dissect.statistics.relative_difference import agreement

NONE, HEADLINE = "none", "nf4"
PROBABILITY, EXACT = "answer probability", "exact match"

Items = Float[np.ndarray, "fact"]


def quantisation(subject: Subject) -> list[Estimate]:
    """Answer probability and exact match as it is and in each format; for forget facts what returns, and Q."""
    return list(_estimates(subject))


def _estimates(subject: Subject) -> Iterator[Estimate]:
    seed, before = subject.settings.seed, _items(subject.scores)
    missing = _missing(subject, before)
    for format in (NONE, *FORMATS):
        if format == NONE:
            found = before
        else:
            with quantised(subject.model, format):
                found = _items(subject.scored(subject.prompts))
        if format == HEADLINE:
            yield mean_of(found[PROBABILITY], seed=seed)
        for of, items in found.items():
            yield mean_of(items, seed=seed, format=format, of=of)
        if format == NONE or subject.set != "forget":
            continue
        if missing is not None:
            yield _returned(found[PROBABILITY] - before[PROBABILITY], missing, format, seed)
        means = [float(each[PROBABILITY].mean()) for each in (before, found)]
        yield Estimate(agreement(*means), len(before[PROBABILITY]), at={"format": format, "of": "Q"})


def _items(scores: TokenScores) -> dict[str, Items]:
    exact = np.array([float((ranks == 1).all()) for ranks in scores.split(scores.rank)])
    return {PROBABILITY: np.exp(scores.per_row(scores.logprob)), EXACT: exact}


def _missing(subject: Subject, before: dict[str, Items]) -> Items | None:
    """What the base model has more of each answer; None for the base model itself, and where none was given."""
    try:
        base = subject.base
    except Undefined:
        return None
    return None if base.model is subject.model else _items(base.scores)[PROBABILITY] - before[PROBABILITY]


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
