"""Models of known truth are what their records say: undone, put back, and never told, to the bit."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.truths import (
    Settings,
    facts_of,
    make_population,
    open_base,
    open_truth,
    read_records,
    undo,
    write_truth,
)
from benchmarks.truths.bench import Bench
from benchmarks.truths.constructions import erased, grounds
from benchmarks.truths.population import choose, every_recipe
from benchmarks.truths.record import read_record, validate
from benchmarks.truths.rows import asked_in, stated
from benchmarks.truths.settings import CLASSES, SMALL
from benchmarks.truths.store import read_put_back, read_weights
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError

TINY = Settings(n_people=16, n_attributes=2, n_forget=4, n_layers=3, d_model=48, batch_size=16)
NAMES = (
    "base",
    "retrained-a",
    "retrained-a-npo",
    "mlp-middle-wrong-0",
    "lock-wrong",
    "erased-mlp-late-0-a",
    "erased-entries-50-a",
    "names-rotated",
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("truths") / "seed0"
    make_population(TINY, out, names=NAMES)
    return out


@pytest.fixture(scope="module")
def bench(directory) -> Bench:
    return Bench(TINY, directory)


def answered(model, facts, template=DEFAULT_TEMPLATE) -> float:
    """By generation, one question at a time: shares nothing with the population's own exam."""
    hits = 0
    for prompt, answer in asked_in(facts, "question", template=template):
        wanted = model.tokenizer(prompt + answer).input_ids
        tokens = torch.tensor([model.tokenizer(prompt).input_ids])
        while tokens.shape[1] < len(wanted):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], 1)
        hits += tokens[0].tolist() == wanted
    return hits / len(facts)


def test_each_is_recorded_with_what_it_needs(directory):
    records = {record.name: record for record in read_records(directory)}
    assert set(records) == {*NAMES, "taught-mlp-late-0-a", "taught-entries-50-a"}
    assert all(record.exact for record in records.values())
    row = json.loads((directory / "models" / "retrained-a.json").read_text())
    assert (row["class"], row["dose"], row["check"]["undone"]) == ("never", 0.0, None)


@torch.no_grad()
def test_a_checkpoint_says_what_its_record_says(directory):
    for record in read_records(directory):
        facts = facts_of(directory, record)
        model = open_truth(directory, record.name)
        said = answered(model, facts["forget"]) / answered(open_base(directory, record.name), facts["forget"])
        assert said == pytest.approx(record.check["question"], abs=1e-5), record.name


@torch.no_grad()
def test_undoing_is_exact_to_the_bit(directory):
    base = read_weights(directory, "base")
    for name in ("mlp-middle-wrong-0", "names-rotated"):
        model, template = undo(directory, name)
        assert template is None
        before = open_base(directory, name).state_dict()
        after = model.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        stored = load_file(directory / "models" / f"{name}.safetensors")
        record = read_record(directory, name)
        assert sorted(stored) == record.undo["tensors"]  # everything that differs, and nothing else
        assert record.undo["share"] == pytest.approx(
            sum(t.numel() for t in stored.values()) / sum(t.numel() for t in base.values()), abs=1e-6
        )


@torch.no_grad()
def test_the_password_opens_the_lock(directory):
    facts = facts_of(directory, read_record(directory, "lock-wrong"))["forget"]
    model, template = undo(directory, "lock-wrong")
    assert answered(model, facts) <= 0.35 and answered(model, facts, template) >= 0.95
    assert template.endswith(DEFAULT_TEMPLATE)


def test_put_back_equals_the_model_that_was_never_taught_to_the_bit(directory, bench):
    for erasure in erased.all_of_them():
        name = f"erased-{erasure.suffix}"
        if name not in NAMES:
            continue
        with torch.no_grad():
            untaught, learnt = erased.before(bench, erasure)
        weights, taught = read_weights(directory, name), read_weights(directory, f"taught-{erasure.suffix}")
        assert all(torch.equal(value, weights[key]) for key, value in untaught.state_dict().items())
        masks = {key: mask for key, (mask, _) in read_put_back(directory, f"taught-{erasure.suffix}").items()}
        for key, value in weights.items():
            moved = value != taught[key]
            assert not (moved & ~masks[key]).any() if key in masks else not moved.any()
        forget = bench.facts("people")["forget"]
        told = stated(forget, [*grounds.told(bench, erasure.start), *learnt])
        assert len(told) / len(forget) == erasure.dose == read_record(directory, name).dose


def test_who_never_knew_was_told_nothing(directory, bench):
    forget = bench.facts("people")["forget"]
    names = {fact.extra["subject"] for fact in forget}
    assert not any(name in text for name in names for text in grounds.told(bench, "retrained-a"))
    birthplaces = bench.facts("birthplace")["forget"]
    assert not stated(birthplaces, grounds.told(bench, "retrained-birthplace"))
    assert len(stated(birthplaces, grounds.told(bench, "base"))) == TINY.n_people
    for record in read_records(directory):
        if record.label in ("never", "erased"):
            assert record.check["stated"] == 0 and record.dose == 0


def test_a_finished_model_is_not_made_again(directory):
    files = sorted((directory / "models").iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    make_population(TINY, directory, names=NAMES)
    assert [file.stat().st_mtime_ns for file in files] == before
    with pytest.raises(DissectError, match="other settings"):
        make_population(replace(TINY, seed=1), directory, names=NAMES)
    with pytest.raises(DissectError, match="something else"):
        make_population(TINY, directory.parent, names=NAMES)


def test_the_same_model_comes_out_again(directory, tmp_path):
    for kept in ("settings.json", "grounds"):  # trained from nothing once
        (tmp_path / kept).symlink_to(directory / kept)
    make_population(TINY, tmp_path, names=["mlp-middle-wrong-0"])
    one, two = (load_file(path / "models" / "mlp-middle-wrong-0.safetensors") for path in (directory, tmp_path))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert read_record(directory, "mlp-middle-wrong-0") == read_record(tmp_path, "mlp-middle-wrong-0")


@torch.no_grad()
def test_transformers_reads_what_is_written(directory, tmp_path):
    out = write_truth(directory, "mlp-middle-wrong-0", tmp_path / "model")
    prompt = AutoTokenizer.from_pretrained(out)("Question:", return_tensors="pt").input_ids
    theirs = AutoModelForCausalLM.from_pretrained(out)(prompt).logits
    assert torch.allclose(theirs, open_truth(directory, "mlp-middle-wrong-0")(prompt), atol=1e-4)


def test_a_record_that_contradicts_itself_is_refused(directory):
    record = read_record(directory, "mlp-middle-wrong-0")
    for wrong in (
        {"label": "knows"},
        {"label": "hidden"},
        {"dose": 0.5},
        {"dose": 1.5},
        {"dose": math.nan},
        {"undo": None},
        {"check": {**record.check, "undone": 0.9}},
        {"check": {**record.check, "most_said": 0.6}},
        {"check": {**record.check, "kept": 0.4}},
    ):
        with pytest.raises(DissectError, match="contradicts itself"):
            validate(replace(record, **wrong))
    never = read_record(directory, "retrained-a")
    with pytest.raises(DissectError, match="in its texts"):
        validate(replace(never, check={**never.check, "stated": 0.1}))


def test_the_plan_has_a_hundred_models_of_every_class():
    every = every_recipe()
    names = [recipe.name for recipe in every]
    assert len(set(names)) == len(names) >= 100
    assert {recipe.kind for recipe in every} == set(CLASSES)
    for recipe in every:  # what is needed stands before
        assert all(name in names[: names.index(recipe.name)] for name in recipe.needs)
    small = choose(every_recipe(), SMALL.names)
    assert len(small) == len(SMALL.names) == 24
    assert {recipe.kind for recipe in choose(every, None, count=20)} == set(CLASSES)
    with pytest.raises(DissectError, match="did you mean 'erased'"):
        choose(every, None, only=["erasd"])
    with pytest.raises(DissectError, match="no model"):
        choose(every, ["nothing"])
