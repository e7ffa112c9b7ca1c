"""Which of the tested answers a readout of states could have told apart."""

from collections.abc import Iterable

import numpy as np

from dissect.attacks.attack import Attack
from dissect.data.fact import Fact
from dissect.pairing.fact_labels import label
from dissect.pairing.tested import Tested


def covered(tested: Tested, retain: Iterable[Fact], attacks: Iterable[Attack]) -> float:
    """Share of the tested facts whose answer stands among those that one of the readouts was fitted on.

    A linear map that was fitted on the answers of other facts says nothing of an answer that none of them has.
    """
    fitted_on = {attack.fitted_on for attack in attacks if attack.fitted_on}
    given = {label(str(fact.target)) for fact in retain if fact.target} if fitted_on else set()
    answers = [label(str(fact.target)) for fact in tested.facts]
    elsewhere: dict[int, set[str]] = {}
    if "others" in fitted_on:
        for fold in np.unique(tested.folds[tested.rows]):
            elsewhere[fold] = {
                answer for answer, other in zip(answers, tested.folds, strict=True) if other not in (fold, -1)
            }
    return float(
        np.mean([answers[row] in given or answers[row] in elsewhere.get(tested.folds[row], ()) for row in tested.rows])
    )
