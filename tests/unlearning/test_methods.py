"""What the methods do to a model of the embedded world: forgetting, and what is kept, asked with held-out wording."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import dissect
from dissect.cli import main
from dissect.reading.answers import reproduced
from dissect.reading.perplexity import perplexity
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


@pytest.mark.parametrize("method", ["ga", "npo", "undial"])
def test_on_a_real_checkpoint_the_text_becomes_less_likely(method, tmp_path, capsys):
    real = Path(__file__).parents[3] / "shared" / "data" / "stories260k"
    if not real.is_dir():
        pytest.skip("the real checkpoint is not here")
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    dissect.Facts([dissect.Fact(text=story)]).write(tmp_path / "story.jsonl")
    line = ["unlearn", str(real), "--forget", str(tmp_path / "story.jsonl"), "--out", str(tmp_path / "out"), "-q"]
    assert main([*line, "--method", method, "--lr", "1e-3", "--epochs", "10"]) == 0
    capsys.readouterr()
    before, after = (dissect.load(path, progress=False) for path in (real, tmp_path / "out"))
    prompts = dissect.Facts.read(tmp_path / "story.jsonl").prompts(before)
    assert perplexity(after, prompts) > 3 * perplexity(before, prompts)
    told = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(prompts.tokens, labels=prompts.tokens).loss
    assert told.item() == pytest.approx(math.log(perplexity(after, prompts)), rel=1e-4)
