"""What the methods do to a model of the embedded world: forgetting, and what is kept, asked with held-out wording."""

from pathlib import Path

import pytest
import torch

import dissect
from dissect.metrics.answers import reproduced
from tests.conftest import TINY


@pytest.fixture(scope="session")
def sentences(demo: Path) -> dict[str, dissect.Facts]:
    """Sentences that the model was not trained on, cut before what they state."""
    world = dissect.World.make(TINY.n_people, TINY.n_attributes, seed=TINY.seed)
    forget, retain = world.split(TINY.n_forget)
    return {"forget": world.sentences(forget), "retain": world.sentences(retain)}


def after(demo: Path, sentences: dict[str, dissect.Facts], **settings) -> dict[str, float]:
    model = dissect.load(demo / "base", progress=False)
    if settings:
        facts = {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain")}
        kept = facts["retain"] if settings.pop("retain", False) else None
        dissect.unlearn(model, forget=facts["forget"], retain=kept, batch_size=8, progress=False, **settings)
    return {name: float(reproduced(model, each.prompts(model)).float().mean()) for name, each in sentences.items()}


def test_the_base_model_knows_what_it_was_not_told_in_these_words(demo, sentences):
    assert after(demo, sentences)["forget"] > 0.9


def test_gradient_ascent_forgets_and_ruins_the_rest(demo, sentences):
    known = after(demo, sentences, method="ga", lr=1e-3, epochs=8)
    assert known["forget"] < 0.15
    assert known["retain"] < 0.4


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "npo", "retain": True, "lr": 1e-3, "epochs": 10, "beta": 0.1},
        {"method": "undial", "retain": True, "lr": 1e-3, "epochs": 20, "gamma": 10.0},
    ],
)
def test_with_retained_facts_most_of_them_are_kept(settings, demo, sentences):
    known = after(demo, sentences, **settings)
    assert known["forget"] < 0.25
    assert known["retain"] > 0.6
    assert known["retain"] > 3 * known["forget"]


def test_without_retained_facts_undial_keeps_more_than_gradient_ascent(demo, sentences):
    """At settings that forget alike."""
    ascent = after(demo, sentences, method="ga", lr=3e-4, epochs=6)
    undial = after(demo, sentences, method="undial", lr=1e-3, epochs=20)
    assert undial["forget"] <= ascent["forget"] < 0.25
    assert undial["retain"] > ascent["retain"] + 0.2


def test_training_touches_no_frozen_parameter(demo):
    model = dissect.load(demo / "base", progress=False)
    frozen = {name: model.get_parameter(name).clone() for name in model.checkpoint.frozen}
    forget = dissect.Facts.read(demo / "forget.jsonl")
    dissect.unlearn(model, forget=forget, method="undial", lr=1e-3, epochs=2, progress=False)
    assert frozen
    assert all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())
