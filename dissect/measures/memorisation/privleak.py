"""MUSE's privacy leakage: membership inference against a model that never saw the facts."""

from typing import Any

import numpy as np

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.memorisation.membership import ATTACKS, K, auc, both_classes
from dissect.measures.option import choice
from dissect.measures.stored_results import stored, stored_area

STORED = stored("privleak.stored", "Results of the retrained model, in its place: its AUC of Min-K%.")
ATTACK = choice(
    "privleak.attack",
    ("min_k", *(name for name in ATTACKS if name != "min_k")),
    "Membership attack that PrivLeak compares.",
)


def privacy_leakage(examined: Examined) -> Estimate:
    """100 (A - A_retrained) / A_retrained, A = 1 - `auc`: the chance that a non-member looks more like a member.

    The interval draws facts anew, the same ones for both models; it is NaN where in some draw A_retrained is 0.

    Raises:
        Undefined: no retrained model and no stored results of one, no non-members, or a retrained model whose A is 0.
    """
    attack, path = examined.option(ATTACK), examined.option(STORED)
    if path:
        return _from_stored(both_classes(examined, attack), stored_area(str(path)))
    retrained = examined.retrained
    own, other = both_classes(examined, attack), both_classes(retrained, attack)
    if auc(*other) == 1:
        raise Undefined("the retrained model tells all forget facts from the non-members: their ratio is not defined")

    def leakage(members: np.ndarray, others: np.ndarray, axis: int = -1) -> Any:
        rows, columns = members.astype(np.int64), others.astype(np.int64)
        area, retrained_area = (1 - auc(a[rows], b[columns], axis=axis) for a, b in (own, other))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(retrained_area > 0, 100 * (area / retrained_area - 1), np.nan)

    unit = f"facts ({len(own[0])} members, {len(own[1])} others)"
    return statistic_of([np.arange(len(scores)) for scores in own], leakage, unit=unit)


def _from_stored(own: tuple[np.ndarray, np.ndarray], retrained_area: float) -> Estimate:
    if not retrained_area > 0:
        raise Undefined(
            f"the retrained model's stored A must be above 0, got {retrained_area}: their ratio is not defined"
        )

    def leakage(members: np.ndarray, others: np.ndarray, axis: int = -1) -> Any:
        return 100 * ((1 - auc(members, others, axis=axis)) / retrained_area - 1)

    return statistic_of(own, leakage, unit=f"facts ({len(own[0])} members, {len(own[1])} others)")


MEASURE = Measure(
    name="privleak",
    label="privacy leakage (PrivLeak)",
    definition=(
        "100 (A - A_r) / A_r in percent, A the chance that a fact of nonmembers looks more like a member to Min-K% "
        "(privleak.attack) than a forget fact does, A_r the same in the retrained model (MUSE, Shi et al. 2025; A is "
        "one minus the AUC of mia). 0: as in the retrained model; negative, down to -100: the forget facts are still "
        "recognised; positive, without bound where A_r is small: forgotten so much that it shows"
    ),
    family="memorisation",
    compute=privacy_leakage,
    options=(ATTACK, K, STORED),
    sets=("forget",),
    knows="low",
)
