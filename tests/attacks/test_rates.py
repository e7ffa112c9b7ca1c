"""How hard attacks train: the last rate that harms nothing, or the one that was given."""

import numpy as np
import pytest

import dissect
from dissect.attacks import rates
from dissect.attacks.attack import NotPossible
from dissect.data.facts import Facts
from tests.attacks.bench import ATTACKS, facts, few, target


@pytest.fixture(scope="module")
def model(tiny_pair):
    return dissect.load(tiny_pair("llama")[0], progress=False)


@pytest.fixture
def harms(monkeypatch):
    """Say what is trained at which rate, and what held-out facts are given after it, without training."""
    tried: list[tuple[float, tuple[str, ...]]] = []

    def use(after: dict[float, float], before: float = -2.0, fails: float | None = None) -> list:
        now = [before]

        def trained(target, facts, read, *, steps, lr, lora_rank, label):
            if lr == fails:
                raise NotPossible("the loss is no longer finite")
            tried.append((lr, tuple(fact.extra["subject"] for fact in facts)))
            now[0] = after[lr]
            result = read()
            now[0] = before
            return result

        monkeypatch.setattr(rates, "RATES", tuple(after))
        monkeypatch.setattr(rates, "trained", trained)
        monkeypatch.setattr(rates, "_logprob", lambda target, prompts: now[0])
        return tried

    return use


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ({1.0: -2.0, 2.0: -2.1, 3.0: -2.4, 4.0: -2.6, 5.0: -1.0}, 3),  # more than half a nat below what was before
        ({1.0: -2.0, 2.0: -1.0, 3.0: -1.4, 4.0: -1.6}, 3),  # and below the best rate
        ({1.0: -2.0, 2.0: -1.9, 3.0: -1.8}, 3),
        ({1.0: -9.0, 2.0: -1.0}, 1),  # nothing gentler is there
        ({1.0: -2.0, 2.0: np.nan, 3.0: -1.0}, 1),
    ],
)
def test_the_last_harmless_rate_is_kept(model, harms, after, kept):
    tried = harms(after)
    made = target(model)
    parts = rates.split(made.retain, 0)
    read = iter(map(float, range(1, 9)))
    result, rate = rates.strongest(made, parts, lambda: next(read), steps=1, lora_rank=0, label="")
    assert rate == result == kept
    assert all(subjects == tuple(fact.extra["subject"] for fact in parts.train) for _, subjects in tried)
    assert rates.harmless_rate(made, parts, steps=1, lora_rank=0) == kept


def test_a_rate_that_diverges_is_one_too_many(model, harms):
    parts = rates.split(facts(26, 12), 0)
    harms({1.0: -2.0, 2.0: -2.0, 3.0: -2.0}, fails=3.0)
    assert rates.strongest(target(model), parts, lambda: None, steps=1, lora_rank=0, label="")[1] == 2
    harms({1.0: -2.0, 2.0: -2.0}, fails=1.0)
    with pytest.raises(NotPossible, match="no longer finite"):
        rates.strongest(target(model), parts, lambda: None, steps=1, lora_rank=0, label="")


def test_the_rate_is_found_once_for_the_same_weights(model, harms):
    made = target(model)
    tried = harms({1.0: -2.0, 2.0: -2.0})
    parts = rates.split(made.retain, 0)
    for _ in range(3):
        assert rates.harmless_rate(made, parts, steps=1, lora_rank=0) == 2
    assert len(tried) == 2
    rates.harmless_rate(made, parts, steps=2, lora_rank=0)
    assert len(tried) == 4
    with dissect.quantised(model, "int4"):  # other weights
        rates.harmless_rate(made, parts, steps=1, lora_rank=0)
    assert len(tried) == 6


def test_without_retain_facts_the_rate_rises_until_what_is_trained_on_is_learnt(model, harms):
    tried = harms({1.0: -2.0, 2.0: -0.7, 3.0: -0.69, 4.0: -0.1})  # log(1/2) = -0.693
    _, rate, done = rates.until_learnt(target(model), list(facts()), lambda: None, steps=1, lora_rank=0, label="")
    assert done and rate == 3 and [lr for lr, _ in tried] == [1, 2, 3]


def test_what_no_rate_teaches_gets_more_steps_at_the_best_one_and_then_it_is_said(model, harms):
    tried = harms({1.0: -3.0, 2.0: -2.0, 3.0: -4.0})
    read = iter("abcd")
    result, rate, done = rates.until_learnt(
        target(model), list(facts()), lambda: next(read), steps=2, lora_rank=0, label="", lowest=1.0
    )
    assert [lr for lr, _ in tried] == [1, 2, 3, 2] and (rate, done) == (2, False)
    assert result in "bd", "what was read at the best rate"


def test_subjects_are_held_out_whole():
    retain = Facts([*facts(26), *facts(26)])
    parts = rates.split(retain, 0)
    names = [{fact.extra["subject"] for fact in part} for part in (parts.train, parts.held_out)]
    assert not names[0] & names[1] and len(names[1]) == 5 and len(parts.train) + len(parts.held_out) == 52
    assert rates.split(retain, 1) != parts


@pytest.mark.parametrize("name", ["continued_kept", "relearn_others", "relearn_others_with_kept"])
def test_a_rate_that_is_given_is_taken(model, name):
    made = target(model)
    ATTACKS[name].run(made, **few(ATTACKS[name], lr=2e-4))
    assert made.notes[0] == "Trained at a rate of 0.0002."
    if name != "continued_kept":
        assert made.weak == ["The facts it trained on were not learnt: too weak to find nothing."]
