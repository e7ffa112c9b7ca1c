"""The exact test: against all permutations by hand, under the null hypothesis, and by whole subjects."""

import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from dissect.pairing.choice import centred, compare
from dissect.pairing.power import power
from dissect.pairing.redealing import redeal
from dissect.pairing.tested import paired
from tests.pairing.people import fact, known_scores, people, random_scores


def tables_of(made, *scores, statistic="log-softmax"):
    return [
        np.stack([compare(each[number], block).of(statistic) for each in scores])
        for number, block in enumerate(made.blocks)
    ]


@pytest.mark.parametrize("statistic", ["rank score", "share below", "log-softmax"])
def test_against_all_permutations(statistic):
    """Four subjects in two groups, two of whom share an answer: 24 ways to deal, each scored by a loop."""
    answers = {"town": ["Varnholt", "Ostrand", "Ostrand", "Ishmere"], "work": ["baker", "smith", "nurse", "lawyer"]}
    facts = [fact(f"Person {i}", group, answers[group][i]) for i in range(4) for group in answers]
    made = paired(facts, n_folds=1)
    scores = known_scores(made, np.random.default_rng(3), 0.8)

    def value(row: np.ndarray, columns: list[str], own: str) -> float:
        others = [row[k] for k, name in enumerate(columns) if name != own]
        mine = row[columns.index(own)]
        above = sum(other > mine for other in others)
        if statistic == "rank score":
            return -np.log((1 + above) / (len(others) + 1))
        if statistic == "share below":
            return 1 - above / len(others)
        return mine - np.log(np.exp(mine) + np.exp(others).sum())

    def total(order) -> float:
        values = []
        for block, matrix in zip(made.blocks, scores, strict=True):
            z = matrix - matrix.mean(1, keepdims=True) - matrix.mean(0) + matrix.mean()
            own = answers[block.sheet.group]
            columns = sorted({name.casefold() for name in own})
            for row, number in enumerate(block.facts):
                person = number // 2
                values.append(value(z[row], columns, own[order[person]].casefold()))
        return float(np.mean(values))

    by_hand = np.array([total(order) for order in itertools.permutations(range(4))])
    truth = total(range(4))
    redealt = redeal(tables_of(made, scores, statistic=statistic), made.dealing, n=20_000)
    assert redealt.observed[0] == pytest.approx(truth)
    assert redealt.mean[0] == pytest.approx(by_hand.mean(), abs=0.01)
    assert redealt.sd[0] == pytest.approx(by_hand.std(), rel=0.03)
    assert redealt.p[0] == pytest.approx((by_hand >= truth - 1e-9).mean(), abs=0.015)


def test_a_subject_moves_with_all_its_facts():
    made = paired(people(8, ("town", "work", "pet")), n_folds=1)
    slots = next(made.dealing.draws(50, seed=1))
    for draw in slots:
        taken = [block.subjects[part] for block, part in zip(made.blocks, np.split(draw, 3), strict=True)]
        own = [block.subjects for block in made.blocks]
        ways = [dict(zip(who.tolist(), to.tolist(), strict=True)) for who, to in zip(own, taken, strict=True)]
        assert ways[0] == ways[1] == ways[2]
        assert sorted(ways[0].values()) == sorted(ways[0])


def test_subjects_with_other_groups_stay_apart():
    """Some people have a town alone: their towns go among themselves, and nobody is left without an answer."""
    facts = [*people(6, ("town", "work")), *(fact(f"Hermit {i}", "town", f"hut {i}") for i in range(4))]
    made = paired(facts, n_folds=1)
    town = next(block for block in made.blocks if block.sheet.group == "town")
    start = sum(len(block.facts) for block in made.blocks[: made.blocks.index(town)])
    hermits = {row for row, number in enumerate(town.facts) if number >= 12}
    for draw in next(made.dealing.draws(40, seed=0)):
        part = draw[start : start + len(town.facts)]
        assert sorted(part) == list(range(len(part)))
        assert {part[row] for row in hermits} == hermits


def test_uniform_where_nothing_is_known():
    """400 models that never knew, with people who share answers: p is uniform, and so is the panel's."""
    made = paired(people(14, ("town", "work"), n_answers=9), n_folds=2)
    rng = np.random.default_rng(0)
    alone, panel = [], []
    for number in range(400):
        first = random_scores(made, rng)
        other = [0.8 * a + b for a, b in zip(first, random_scores(made, rng), strict=True)]  # correlated attacks
        redealt = redeal(tables_of(made, first, other), made.dealing, n=199, seed=number)
        alone.append(redealt.p[0])
        panel.append(redealt.p_panel)
    for values in (alone, panel):
        assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.08
        assert kstest(values, "uniform").pvalue > 0.001


def test_knowing_is_found_and_avoiding_is_not():
    made = paired(people(20, ("town", "work")))
    rng = np.random.default_rng(1)
    knows, avoids = known_scores(made, rng, 5.0), known_scores(made, rng, -5.0)
    redealt = redeal(tables_of(made, knows, avoids), made.dealing)
    assert redealt.p[0] == pytest.approx(1e-4)
    assert redealt.p[1] > 0.99
    assert redealt.p_panel == redealt.p_adjusted[0] < 0.001
    assert redealt.p_avoiding < 0.001
    assert redeal(tables_of(made, knows), made.dealing).p_avoiding > 0.99


def test_an_attack_that_says_nothing_counts_for_nothing():
    made = paired(people(10))
    flat = [np.zeros(block.sheet.shape) for block in made.blocks]
    redealt = redeal(tables_of(made, flat, known_scores(made, np.random.default_rng(0), 4.0)), made.dealing)
    assert np.isnan(redealt.z[0]) and np.isnan(redealt.p[0])
    assert redealt.p_panel < 0.01


def test_rows_that_could_not_be_asked_are_left_out():
    made = paired(people(10), n_folds=1)
    scores = known_scores(made, np.random.default_rng(0), 6.0)
    scores[0][3] = np.nan
    redealt = redeal(tables_of(made, scores), made.dealing)
    own = compare(scores[0], made.blocks[0]).logp
    assert np.isnan(own[3]).all() and np.isfinite(np.delete(own, 3, axis=0)).all()
    kept = np.delete(np.arange(10), 3)
    assert redealt.observed[0] == pytest.approx(own[kept, kept].mean())


def test_power_is_what_simulation_gives_and_grows_with_the_facts():
    """Mixtures by hand: known rows of the base model, the others of the model, its rows dealt at random."""
    rng = np.random.default_rng(2)
    found = []
    for n in (14, 40):
        made = paired(people(n, ("town", "work")))
        own, base = random_scores(made, rng), known_scores(made, rng, 5.0)
        tables = [[compare(each, block).logp for each, block in zip(s, made.blocks, strict=True)] for s in (own, base)]
        redealt = redeal(tables_of(made, own), made.dealing)
        found.append(power(*tables, made.dealing, 0.25, redealt.critical(0.01)))
        centres = [[centred(each, block) for each, block in zip(s, made.blocks, strict=True)] for s in (own, base)]
        hits = []
        for trial in range(100):
            known = rng.permutation(len(made.rows)) < 0.25 * len(made.rows)
            parts = np.split(known, np.cumsum([len(block.facts) for block in made.blocks])[:-1])
            mixed = [
                np.where(part[:, None], knows, not_[rng.permutation(len(not_))])
                for part, not_, knows in zip(parts, *centres, strict=True)
            ]
            hits.append(redeal(tables_of(made, mixed), made.dealing, n=499, seed=trial).p[0] <= 0.01)
        assert np.mean(hits) == pytest.approx(found[-1][0], abs=0.17)
    assert found[1][0] > found[0][0] and found[1][0] > 0.9 and found[1][1] < found[0][1]
