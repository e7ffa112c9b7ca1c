"""Numbers of a panel from matrices of models whose knowledge is known."""

import numpy as np
import pytest

from dissect.attacks.attack import Attack, available
from dissect.pairing.tested import paired
from dissect.verdicts.findings import Panel, findings
from dissect.verdicts.lines import ALPHA
from tests.pairing.people import known_scores, people, random_scores


def attack(name: str) -> Attack:
    return Attack(name=name, label=name, family="asking", seen="Nothing.", run=lambda target: [])


ATTACKS = [available()["as_asked"], attack("other")]


@pytest.fixture(scope="module")
def made():
    return paired(people(40, ("town", "work")))


def panel_of(made, *matrices):
    return Panel.of(made, ATTACKS[: len(matrices)], {a.name: m for a, m in zip(ATTACKS, matrices, strict=False)})


def test_the_share_left_follows_what_is_known(made):
    """A dose: whoever knows a share of the facts is given that share, and the interval holds it."""
    rng = np.random.default_rng(0)
    base = panel_of(made, known_scores(made, rng, 9.0))
    shares = []
    for dose in (0.0, 0.25, 0.5, 0.75, 1.0):
        scores = random_scores(made, rng)
        known = np.zeros(made.subjects.max() + 1, dtype=bool)
        known[rng.permutation(len(known))[: round(dose * len(known))]] = True
        for matrix, block in zip(scores, made.blocks, strict=True):
            rows = np.flatnonzero(known[block.subjects])
            matrix[rows, block.own[rows]] += 9.0
        (reading,) = findings(panel_of(made, scores), base).readings
        shares.append(reading.share.value)
        assert reading.share.low - 0.05 <= dose <= reading.share.high + 0.05
        assert reading.share.low < reading.upper < reading.share.high + 1e-9
    assert shares == sorted(shares)


def test_what_a_retrained_model_guesses_is_taken_off(made):
    rng = np.random.default_rng(1)
    base = panel_of(made, known_scores(made, rng, 30.0))
    guess = known_scores(made, rng, 1.5)  # names that give something away
    alike = [matrix + 0.1 * rng.normal(size=matrix.shape) for matrix in guess]
    alone = findings(panel_of(made, alike), base)
    beside = findings(panel_of(made, alike), base, panel_of(made, guess))
    assert alone.found and not beside.found
    assert beside.guessing and abs(beside.readings[0].share.value) < 0.1
    knows = findings(panel_of(made, known_scores(made, rng, 30.0)), base, panel_of(made, guess))
    assert knows.found and knows.readings[0].share.value > 0.9
    chance = findings(panel_of(made, alike), base, panel_of(made, random_scores(made, rng)))
    assert not chance.guessing and chance.readings[0].share == alone.readings[0].share


def test_the_panel_pays_for_its_attacks(made):
    rng = np.random.default_rng(2)
    knows, nothing = known_scores(made, rng, 1.2), random_scores(made, rng)
    own = findings(panel_of(made, nothing, knows), panel_of(made, known_scores(made, np.random.default_rng(9), 9.0)))
    for reading in own.readings:
        assert reading.p_adjusted >= reading.p
    assert own.p_adjusted == min(reading.p_adjusted for reading in own.readings) < ALPHA
    assert own.largest is not None and own.largest.name == "other"


def test_an_attack_that_was_not_possible(made):
    own = Panel.of(made, ATTACKS, {"as_asked": random_scores(made, np.random.default_rng(0)), "other": "No retain."})
    result = findings(own, panel_of(made, known_scores(made, np.random.default_rng(9), 9.0)))
    assert [reading.name for reading in result.readings] == ["as_asked"]
    assert result.not_possible == {"other": "No retain."}
