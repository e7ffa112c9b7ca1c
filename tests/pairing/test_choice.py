"""Forced choice by hand, and what must not matter to it."""

import numpy as np
import pytest

from dissect.pairing.choice import centred, compare, of_truth
from dissect.pairing.tested import paired
from tests.pairing.people import fact, known_scores, people, random_scores


def test_by_a_loop():
    made = paired(people(12, n_answers=7), n_folds=1)
    (block,), (scores,) = made.blocks, random_scores(made, np.random.default_rng(0))
    z = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    share, place = [], []
    for row in range(12):
        own = z[row, block.own[row]]
        others = [z[row, k] for k in range(7) if k != block.own[row]]
        share.append(np.mean([other < own for other in others]))
        place.append(-np.log((1 + sum(other > own for other in others)) / 7))
    compared = compare(scores, block)
    np.testing.assert_allclose(of_truth(compared.below, block), share)
    np.testing.assert_allclose(of_truth(compared.score, block), place)
    np.testing.assert_allclose(centred(scores, block), z, atol=1e-12)


def test_easy_questions_and_popular_answers_drop_out():
    made = paired(people(10), n_folds=1)
    rng = np.random.default_rng(1)
    (block,), (scores,) = made.blocks, random_scores(made, rng)
    moved = scores + rng.normal(size=(10, 1)) * 9 + rng.normal(size=(1, 10)) * 9
    np.testing.assert_allclose(compare(moved, block).below, compare(scores, block).below)
    np.testing.assert_allclose(compare(moved, block).logp, compare(scores, block).logp, atol=1e-9)


def test_ties_are_half_and_knowing_is_one():
    made = paired(people(10), n_folds=1)
    (block,) = made.blocks
    assert of_truth(compare(np.zeros((10, 10)), block).below, block) == pytest.approx(0.5)
    (knows,) = known_scores(made, np.random.default_rng(0), 50.0)
    assert of_truth(compare(knows, block).below, block).mean() == 1.0
    (avoids,) = known_scores(made, np.random.default_rng(0), -50.0)
    assert of_truth(compare(avoids, block).below, block).mean() == 0.0


def test_answers_that_begin_alike_are_no_foils():
    """Whoever knows "New York City" also gives "New York" a high score: that is no mistake."""
    answers = ["New York", "New York City", "Newark", "Boston", "new york.", "Boston"]
    made = paired([fact(f"Person {i}", "town", answer) for i, answer in enumerate(answers)], n_folds=1)
    (block,) = made.blocks
    texts = block.sheet.asks[0].answers
    assert len(texts) == 4  # case and a full stop make no other answer
    named = {text.casefold().rstrip("."): k for k, text in enumerate(texts)}
    foils = dict(zip(answers, block.foils, strict=True))
    assert not foils["New York"][named["new york city"]] and not foils["New York City"][named["new york"]]
    assert foils["New York"][named["newark"]] and foils["Newark"].sum() == 3
    assert [answers[i] for i in range(6) if not block.foils[i][named["boston"]]] == ["Boston", "Boston"]


def test_two_true_answers_of_one_subject_are_no_foils_of_each_other():
    facts = [
        fact("Ada", "child", "Basil"),
        fact("Ada", "child", "Cleo"),
        *(fact(name, "child", f"kid of {name}") for name in ("Dan", "Eve", "Finn")),
    ]
    made = paired(facts, n_folds=1)
    (block,) = made.blocks
    columns = {text: k for k, text in enumerate(block.sheet.asks[0].answers)}
    for row in range(2):
        assert not block.foils[row][[columns["Basil"], columns["Cleo"]]].any()
