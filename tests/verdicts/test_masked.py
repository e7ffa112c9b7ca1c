"""A model that avoids the right answers: which readouts could have told them apart."""

import pytest

from dissect.attacks.attack import available
from dissect.data.facts import Fact, Facts
from dissect.pairing.tested import paired
from dissect.verdicts.covered import covered

ATTACKS = available()
OTHERS = "linear_readout_others"
EARLY = "linear_readout_early"
TOWNS = ("Rome", "Oslo", "Bern", "Lima")


def fact(i, town, group="town"):
    return Fact(question=f"Town of Person {i}?", answer=town, extra={"subject": f"Person {i}", "group": group})


SHARED = Facts(fact(i, TOWNS[i % 4]) for i in range(24))
UNIQUE = Facts(fact(i, f"{chr(97 + i)}ville") for i in range(24))


@pytest.mark.parametrize(
    ("forget", "retain", "names", "share"),
    [
        (SHARED, [], (OTHERS,), 1),
        (SHARED, [], (EARLY,), 0),
        (SHARED, [fact(99, "rome.")], (EARLY,), 0.25),
        (SHARED, [fact(99, "Rome")], ("as_asked", "tuned_lens_late", "relearn_others"), 0),
        (UNIQUE, [], (OTHERS, EARLY), 0),
        (UNIQUE, [fact(99, "aville"), fact(98, "bville")], (OTHERS,), 2 / 24),
    ],
)
def test_answers_that_a_readout_was_fitted_on(forget, retain, names, share):
    assert covered(paired(forget, n_folds=2), retain, [ATTACKS[name] for name in names]) == pytest.approx(share)


def test_readouts_say_what_they_are_fitted_on():
    assert {name: attack.fitted_on for name, attack in ATTACKS.items() if attack.fitted_on} == {
        **{f"linear_readout_{third}": "retain" for third in ("early", "middle", "late")},
        OTHERS: "others",
    }
