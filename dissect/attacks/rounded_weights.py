"""Rounding the weights: what a small change of many weights hid, a coarse grid may bring back (arXiv:2410.16454)."""

from functools import partial

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.errors import DissectError
from dissect.models.changing.quantised import quantised

FORMATS = ("int8", "int4", "nf4")


def rounded(target: Target, *, format: str) -> Scores:
    """log p(answer | question) while the matrices of the layers hold what a quantised checkpoint would."""
    try:
        change = quantised(target.model, format)
    except DissectError as error:
        raise NotPossible(f"its weights cannot be rounded: {error}") from error
    with change:
        return target.score()


ATTACKS = tuple(
    Attack(
        name=f"rounding_{format}",
        label=f"rounded to {format}",
        family="weights",
        seen="Nothing: the weights are rounded.",
        run=partial(rounded, format=format),
    )
    for format in FORMATS
)
