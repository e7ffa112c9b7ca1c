"""What attacks get, and what they cannot get."""

import numpy as np
import pytest

import dissect
from dissect.attacks.attack import Attack, NotPossible, Target, available, budgets, chosen_attacks
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.pairing.tested import paired
from tests.pairing.people import people


def target(model, n: int = 20, retain: Facts | None = None) -> Target:
    made = paired(people(n))
    return Target(model, made.sheets, Facts() if retain is None else retain, made.facts, made.folds)


@pytest.fixture(scope="module")
def model(tiny_pair):
    return dissect.load(tiny_pair("llama")[0], progress=False)


def test_attacks_say_what_they_have_seen():
    attacks = available()
    assert "as_asked" in attacks
    for attack in attacks.values():
        assert attack.seen.endswith(".") and attack.label and attack.name.isidentifier()
        assert not attack.trains or attack.slow


def test_others_hold_no_tested_subject(model):
    made = target(model)
    for fold in made.fold_names:
        tested = frozenset().union(*(sheet.subjects for sheet in made.sheets if sheet.fold == fold))
        trained = {fact.extra["subject"] for fact in made.others(fold)}
        assert trained and not trained & tested
    with pytest.raises(NotPossible, match="too few subjects"):
        target(model, 6).others(0)
    with pytest.raises(NotPossible, match="retain"):
        made.kept()
    with pytest.raises(NotPossible, match="paraphrases"):
        made.score(wording="paraphrases")


def test_folds_come_back_in_the_sheets_order(model):
    made = target(model, 60)
    whole, folded = made.score(), made.by_fold(lambda fold: made.score(fold=fold))
    assert len({sheet.fold for sheet in made.sheets}) == 2
    for first, second in zip(whole, folded, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)


def test_choosing_and_options():
    assert [attack.name for attack in chosen_attacks("as_asked")] == ["as_asked"]
    assert {attack.name for attack in chosen_attacks(None)} == set(available())
    assert not any(attack.slow for attack in chosen_attacks("quick"))
    with pytest.raises(DissectError, match="did you mean 'as_asked'"):
        chosen_attacks(["as_aksed"])
    attack = Attack(name="x", label="x", family="training", seen="Nothing.", run=lambda target: [], budget={"steps": 5})
    assert budgets([attack], {"x.steps": 9}) == {"x": {"steps": 9}}
    for option in ("x.step", "steps", "y.steps"):
        with pytest.raises(DissectError, match=r"choose from x\.steps"):
            budgets([attack], {option: 9})
