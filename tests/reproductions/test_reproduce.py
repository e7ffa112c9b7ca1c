"""The papers' figures on the tiny world: numbers against independent ones, continuing, configs and their mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import dissect
from dissect.cli import main
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.measures.estimate import mean_of, share_of
from dissect.reading.answers import reproduced
from dissect.reproductions.figures import FIGURES, krs_curves, reproduce
from dissect.reproductions.figures.krs_curves import MEAN
from dissect.reproductions.making import training_runs as training
from dissect.reproductions.making.concepts import concepts_of, noised, strongest
from dissect.reproductions.making.figure_config import available, read_config
from dissect.reproductions.making.measure_rows import Bench

METHODS = ["ga", "npo", "undial"]
QUIET = {"progress": False, "images": False}


@pytest.fixture(scope="module")
def given(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the demo left, as a config: nothing is trained again."""
    forget, retain = (Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain_unseen"))
    here = tmp_path_factory.mktemp("facts")
    Facts.from_dataset([{"text": f"{fact.question} {fact.answer}."} for fact in retain]).write(here / "texts.jsonl")
    rows = [
        {"text": text, "spans": {"value": [fact.answer], "name": [fact.extra["subject"]]}}
        for fact in forget
        for text in fact.extra["paraphrases"][:1]
    ]
    Facts.from_dataset(rows).write(here / "sequences.jsonl")
    files = {"forget": "forget", "retain": "retain_unseen", "retain_seen": "retain_seen", "unrelated": "retain_unseen"}
    model = {
        "base": str(demo / "base"),
        "retrained": str(demo / "retrained"),
        "unlearned": str(demo / "{method}"),
        "methods": METHODS,
        "facts": {name: str(demo / f"{file}.jsonl") for name, file in files.items()}
        | {name: str(here / f"{name}.jsonl") for name in ("texts", "sequences")},
    }
    return {"models": {"tiny": model}, "settings": {"D-F2": {"window": 3}}}


@pytest.fixture(scope="module")
def trained(given: dict) -> dict:
    """The same without its unlearned checkpoints: figures that would measure those train their own."""
    model = {key: value for key, value in given["models"]["tiny"].items() if key not in ("unlearned", "methods")}
    return {"models": {"tiny": model}}


def with_settings(config: dict, figure: str, **settings: object) -> dict:
    """The config with settings of one figure."""
    return {**config, "settings": {figure: settings}}


@pytest.fixture(scope="module")
def krs(given: dict, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("krs")
    return reproduce("D-F2", out, given, command="dissect reproduce D-F2", **QUIET), out


def test_krs_is_that_of_the_sweeps(krs, demo):
    table = krs[0].table
    methods = []
    for method in METHODS:
        pair = dissect.load_pair(demo / "base", demo / method, progress=False)
        prompts = Facts.read(demo / "forget.jsonl").prompts(pair.base, answers="base", progress=False)
        both = dissect.concat(
            dissect.patch(pair, prompts, window=3, progress=False),
            dissect.restore(pair, prompts, ["mlp.W_out"], window=3, progress=False),
        )
        expected = both.ci("krs", seed=0)
        mine = table[table["method"] == method].set_index(["component", "layer"]).to_xarray()
        mine = mine.sel(component=both.data["component"].values)
        np.testing.assert_allclose(mine["krs"], expected["mean"], atol=1e-9)
        np.testing.assert_allclose(mine["pooled"], expected["pooled"], atol=1e-9)
        methods.append(1 - both.data["krs"] / both.data["krs_recipient"])  # the paper's formula, by hand
    by_hand = np.mean([part.mean("prompt") for part in methods], axis=0)
    mean = table[table["method"] == MEAN].set_index(["component", "layer"]).to_xarray()
    mean = mean.sel(component=both.data["component"].values)
    np.testing.assert_allclose(mean["krs"], by_hand, atol=1e-9)
    assert (mean["low"] <= mean["krs"]).all() and (mean["krs"] <= mean["high"]).all()
    assert (table["unit"] == "question").all() and (table["n"] == 18).all()


def test_the_papers_picture_appears(krs):
    mean = krs[0].table.query("method == @MEAN").groupby("component")["krs"].max()
    assert mean["mlp_post+attn_out"] > max(mean["mlp_post"], mean["attn_out"]) > 0
    assert mean["mlp.W_out"] < 0.5 * mean["mlp_post+attn_out"]


def test_krs_has_four_curves_in_a_panel_for_each_method_and_their_mean(krs):
    figure = krs[0].figure
    assert [note.text for note in figure.layout.annotations[:4]] == [f"tiny: {name}" for name in (MEAN, *METHODS)]
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(lines) == 16 and sum(trace.showlegend for trace in lines) == 4
    table = krs[0].table
    both = table[(table["method"] == MEAN) & (table["component"] == "mlp_post")]
    np.testing.assert_allclose(lines[0].y, both["krs"])


def test_provenance_says_what_was_used(krs, demo):
    done, out = krs
    about = json.loads((out / "D-F2.json").read_text())
    assert about["command"] == "dissect reproduce D-F2" and about["seed"] == 0 and about["world"] is False
    assert about["settings"] == {
        "window": 3,
        "scoring": "answer",
        "answers": "base",
        "max_new_tokens": 30,
        "metric": "krs",
    }
    expected = {
        str(demo / name): dissect.load(demo / name, progress=False).checkpoint.fingerprint
        for name in ("base", *METHODS)
    }
    assert about["checkpoints"] == expected
    assert about["versions"]["torch"] == torch.__version__
    assert about["facts"]["tiny forget"]["n"] == 18
    assert about["files"] == ["D-F2.html", "D-F2.csv", "D-F2-checkpoints.csv"]
    assert [file.name for file in done.files] == [*about["files"], "D-F2.json"]
    pd.testing.assert_frame_equal(pd.read_csv(out / "D-F2.csv"), done.table, rtol=1e-8)
    assert "plotly" in (out / "D-F2.html").read_text()


def test_what_is_kept_is_not_computed_again(krs, given, monkeypatch):
    done, out = krs
    for name in ("patch", "restore"):
        monkeypatch.setattr(krs_curves, name, None)
    again = reproduce("D-F2", out, given, command="dissect reproduce D-F2", **QUIET)
    pd.testing.assert_frame_equal(again.table, done.table)
    assert json.loads((out / "D-F2.json").read_text())["checkpoints"]  # read from what was kept


def test_an_interrupted_figure_goes_on_with_what_is_missing(krs, given, tmp_path, monkeypatch):
    done, _ = krs
    calls = []

    def stops(*args, **kwargs):
        calls.append("patch")
        if len(calls) == 2:
            raise KeyboardInterrupt
        return dissect.patch(*args, **kwargs)

    monkeypatch.setattr(krs_curves, "patch", stops)
    with pytest.raises(KeyboardInterrupt):
        reproduce("D-F2", tmp_path, given, **QUIET)
    assert not (tmp_path / "D-F2.csv").exists()
    again = reproduce("D-F2", tmp_path, given, **QUIET)
    assert len(calls) == 4  # the first checkpoint's is not made again, and those of the other two are
    pd.testing.assert_frame_equal(again.table, done.table)


@pytest.fixture(scope="module")
def concepts(demo, tmp_path_factory):
    """Stand-ins for published checkpoints: named by method and concept, with a ConceptVectors file."""
    here = tmp_path_factory.mktemp("published")
    forget = Facts.read(demo / "forget.jsonl")
    for method, source in (("dpo", "npo"), ("grad_diff", "ga")):
        for id, other in ((7, source), (12, "undial")):
            (here / f"tiny_{method}_unlearn_on_id_{id}_concept").symlink_to(demo / other)
    records = [
        {
            "id": id,
            "Concept": f"person {id}",
            "Layer": 1,
            "Dim": 3,
            "QA": [f.question for f in forget[start : start + 3]],
        }
        for id, start in ((7, 0), (12, 3))
    ]
    for record in records:
        record["answers_tokens_num"] = [2, 1, 1]
    for record, other in zip(records, reversed(records), strict=True):
        record["unrelated_QA"] = list(other["QA"])
    (here / "concepts.json").write_text(json.dumps(records))
    facts = {part: {"file": "concepts.json", "concept": "{id}", "part": name} for part, name in
             (("forget", "QA"), ("unrelated", "unrelated_QA"))}  # fmt: skip
    model = {
        "base": str(demo / "base"),
        "unlearned": "tiny_{method}_unlearn_on_id_{id}_concept",
        "methods": ["dpo", "grad_diff"],
        "ids": [7, 12],
        "facts": facts,
    }
    text = json.dumps({"models": {"tiny": model}, "settings": {"D-F2": {"window": 1}, "D-F3": {"max_new_tokens": 8}}})
    (here / "config.yaml").write_text(text)  # JSON is YAML; paths are found beside the config
    return here


def test_checkpoints_by_pattern_are_averaged_over_questions_then_concepts_then_methods(concepts, tmp_path):
    made = reproduce("D-F2", tmp_path, concepts / "config.yaml", **QUIET)
    single = pd.read_csv(tmp_path / "D-F2-checkpoints.csv")
    assert set(zip(single["method"], single["id"], strict=True)) == {
        (m, i) for m in ("dpo", "grad_diff") for i in (7, 12)
    }
    assert (single["n"] + single["n_undefined"] == 3).all()
    keys = ["component", "layer"]
    means = single.groupby([*keys, "method"])["krs"].mean().groupby(keys).mean()
    mine = made.table[made.table["method"] == MEAN].set_index(keys)
    np.testing.assert_allclose(mine["krs"].sort_index(), means.sort_index(), atol=1e-9)
    assert (mine["unit"] == "concept").all() and (mine["n"] == 2).all() and (mine["n_prompts"] == 6).all()
    by_concept = single.groupby([*keys, "id"])["krs"].mean().unstack("id")  # two concepts: the ends are the draws
    np.testing.assert_allclose(mine["low"].sort_index(), by_concept.min(axis=1).sort_index(), atol=1e-9)
    np.testing.assert_allclose(mine["high"].sort_index(), by_concept.max(axis=1).sort_index(), atol=1e-9)


def test_the_published_scoring_is_an_option(concepts, tmp_path):
    config = json.loads((concepts / "config.yaml").read_text())
    model = config["models"]["tiny"]
    model |= {"unlearned": str(concepts / model["unlearned"]), "ids": [7], "methods": ["dpo"]}
    for facts in model["facts"].values():
        facts["file"] = str(concepts / "concepts.json")
    tables = [
        reproduce("D-F2", tmp_path, with_settings(config, "D-F2", window=1, scoring=scoring), **QUIET).table
        for scoring in ("answer", "published")
    ]
    assert tables[0].shape == tables[1].shape and not np.allclose(tables[0]["krs"], tables[1]["krs"])
    assert set(tables[0]["method"]) == {"dpo"}  # one method: no mean over methods


def test_uds_is_that_of_evaluate(given, demo, tmp_path):
    made = reproduce("UDS", tmp_path, given, **QUIET)
    table = made.table.set_index("method")
    assert list(table.index) == ["base", "retrained", *METHODS]
    assert table["uds"]["base"] == 0 and table["uds"]["retrained"] == 1
    found = dissect.evaluate(
        {"npo": demo / "npo"},
        forget=Facts.read(demo / "forget.jsonl"),
        base=demo / "base",
        retrained=demo / "retrained",
        measures=["uds", "exact_match"],
        n_examples=0,
        progress=False,
    )
    for measure in ("uds", "exact_match"):
        row = found.get("npo", measure)
        mine = [table[f"{measure}{end}"]["npo"] for end in ("", "_low", "_high", "_n")]
        of = share_of if measure == "exact_match" else mean_of
        singly = of(np.array(row.items)).with_interval(seed=0)  # where evaluate draws whole subjects
        np.testing.assert_allclose(mine, [row.value, singly.low, singly.high, row.n], atol=1e-6)
    assert list(made.figure.data[0].x) == pytest.approx(list(made.table["uds"]))


def test_behaviour_of_given_checkpoints(given, demo, tmp_path):
    config = with_settings(given, "D-F3", max_new_tokens=8)
    made = reproduce("D-F3", tmp_path, config, **QUIET)
    found = dissect.evaluate(
        {"npo": demo / "npo"},
        forget=Facts.read(demo / "forget.jsonl"),
        unrelated=Facts.read(demo / "retain_unseen.jsonl"),
        base=demo / "base",
        measures=["similarity_to_base_bleu", "similarity_to_base_rouge_l"],
        options={"similarity_to_base.max_new_tokens": 8},
        n_examples=0,
        progress=False,
    )
    table = made.table.set_index(["method", "measure", "set"])["value"]
    for row in found.rows:
        if row.model == "npo":
            assert table["npo", row.measure, row.set] == pytest.approx(row.value)
    assert "reconstruction" in made.figure.layout.title.text
    assert len({trace.name for trace in made.figure.data if trace.name}) == 3


def test_behaviour_over_concepts(concepts, tmp_path):
    made = reproduce("D-F3", tmp_path, concepts / "config.yaml", **QUIET)
    single = pd.read_csv(tmp_path / "D-F3-concepts.csv")
    keys = ["method", "measure", "set"]
    expected = single.groupby(keys)["value"].mean()
    np.testing.assert_allclose(made.table.set_index(keys)["value"].sort_index(), expected.sort_index())
    assert (made.table["n"] == 2).all() and (made.table["unit"] == "concepts").all()


def test_forgetting_against_utility_of_given_checkpoints(given, demo, tmp_path):
    made = reproduce("U-F4", tmp_path, given, **QUIET)
    table = made.table.set_index(["method", "measure", "set"])["value"]
    for name in METHODS:
        model = dissect.load(demo / name, progress=False)
        for set, file in (("forget", "forget"), ("retain", "retain_unseen")):
            share = reproduced(model, Facts.read(demo / f"{file}.jsonl").prompts(model)).float().mean()
            assert table[name, "exact_match", set] == pytest.approx(float(share))
    assert table["base", "exact_match", "forget"] == 1 and table["base", "el_3", "sequences"] > 0
    markers = [trace for trace in made.figure.data if trace.mode == "markers"]
    assert len(markers) == 4 * len(METHODS)  # two measures of forgetting by two of utility
    first = {trace.name: (trace.x[0], trace.y[0]) for trace in markers[: len(METHODS)]}
    assert first["npo"] == (table["npo", "exact_match", "retain"], table["npo", "el_3", "sequences"])


@pytest.fixture(scope="module")
def strength(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("strength")
    config = with_settings(
        trained,
        "U-F3",
        train={"method": "undial", "lr": 1e-3, "batch_size": 8},
        over={"gamma": [0.0, "1e1"]},  # as YAML reads 1e1
        epochs=[1, 3],
    )
    return reproduce("U-F3", out, config, **QUIET), out, config


def test_one_run_serves_all_epochs(strength, demo):
    """The row of epoch 1 of a run of three is that of a run of one epoch."""
    table = strength[0].table
    forget = Facts.read(demo / "forget.jsonl")
    for gamma, epochs in ((10.0, 1), (10.0, 3)):
        model = dissect.load(demo / "base", progress=False)
        how = {"method": "undial", "gamma": gamma, "lr": 1e-3, "batch_size": 8, "epochs": epochs}
        dissect.unlearn(model, forget=forget, progress=False, **how)
        rows = table[(table["gamma"] == gamma) & (table["epoch"] == epochs) & (table["measure"] == "exact_match")]
        for _, row in rows.iterrows():
            facts = Facts.read(demo / {"forget": "forget.jsonl", "retain": "retain_unseen.jsonl"}[row["set"]])
            assert row["value"] == pytest.approx(float(reproduced(model, facts.prompts(model)).float().mean()))
    assert len([path for path in (strength[1] / "U-F3" / "runs").iterdir() if path.is_dir()]) == 2


def test_more_strength_forgets_more(strength):
    table = strength[0].table.query("measure == 'ma' and epoch == 3").set_index("gamma")["value"]
    assert table[0.0] == 1.0 > table[10.0]
    figure = strength[0].figure
    panels = ["EL₃, sequences", "MA, forget", "exact match, forget", "exact match, retain", "perplexity, texts"]
    assert [note.text for note in figure.layout.annotations[:5]] == panels
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(lines) == 10 and {trace.name for trace in lines} == {"gamma=0.0", "gamma=10.0"}
    assert len([trace for trace in figure.data if trace.mode == "lines+text"]) == 10  # base and retrained


def test_trained_runs_are_not_trained_again(strength, monkeypatch):
    done, out, config = strength
    monkeypatch.setattr(training, "unlearn", None)
    monkeypatch.setattr(Bench, "rows", None)
    pd.testing.assert_frame_equal(reproduce("U-F3", out, config, **QUIET).table, done.table)


def test_an_interrupted_run_goes_on_and_ends_the_same(strength, tmp_path, monkeypatch):
    done, _, config = strength
    calls, rows = [], Bench.rows

    def stops(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:  # base, retrained, the first epoch of the first run; then this
            raise KeyboardInterrupt
        return rows(self, *args, **kwargs)

    monkeypatch.setattr(Bench, "rows", stops)
    with pytest.raises(KeyboardInterrupt):
        reproduce("U-F3", tmp_path, config, **QUIET)
    again = reproduce("U-F3", tmp_path, config, **QUIET)
    assert len(calls) == 4 + 3
    pd.testing.assert_frame_equal(again.table, done.table)


def test_a_falling_learning_rate_takes_a_run_for_each_number_of_epochs(trained, demo, tmp_path):
    train = {"method": "ga", "batch_size": 8, "schedule": "linear"}
    config = with_settings(trained, "U-F1", train=train, over={"lr": [5e-4]}, epochs=[1, 2])
    table = reproduce("U-F1", tmp_path, config, **QUIET).table
    assert len([path for path in (tmp_path / "U-F1" / "runs").iterdir() if path.is_dir()]) == 2
    model = dissect.load(demo / "base", progress=False)
    forget = Facts.read(demo / "forget.jsonl")
    dissect.unlearn(model, forget=forget, lr=5e-4, epochs=1, progress=False, **train)
    expected = float(reproduced(model, forget.prompts(model)).float().mean())
    row = table.query("epoch == 1 and measure == 'exact_match' and set == 'forget'")
    assert row["value"].item() == pytest.approx(expected)


def test_a_run_that_diverges_is_noted_and_the_others_are_drawn(trained, tmp_path, monkeypatch):
    train = {"method": "ga", "batch_size": 8}
    config = with_settings(trained, "U-F1", train=train, over={"lr": [1e-4, 1e30]}, epochs=[1])
    made = reproduce("U-F1", tmp_path, config, **QUIET)
    assert len(made.notes) == 1 and "lr=1e+30" in made.notes[0] and "lower lr" in made.notes[0]
    assert set(made.table["lr"].dropna()) == {1e-4}
    monkeypatch.setattr(training, "unlearn", None)  # it is not tried again
    assert reproduce("U-F1", tmp_path, config, **QUIET).notes == made.notes


def test_methods_over_epochs_and_learning_rates(trained, tmp_path):
    train = {"batch_size": 8, "lr": 5e-4}
    methods = {"GA": {"method": "ga"}, "GradDiff": {"method": "grad_diff"}}
    config = with_settings(trained, "D-F3", train=train, methods=methods, epochs=[2], max_new_tokens=6)
    table = reproduce("D-F3", tmp_path, config, **QUIET).table
    assert table[table["epoch"] == 0]["value"].tolist() == pytest.approx([1.0] * 8)  # before training: its own answers
    last = table[table["epoch"] == 2].set_index(["method", "measure", "set"])["value"]
    assert last.between(0, 1).all() and len(last) == 8 and last["GA", "similarity_to_base_bleu", "forget"] < 1
    assert (tmp_path / "D-F3-epochs.html").is_file()
    config = with_settings(trained, "U-F4", train={"batch_size": 8}, methods=methods, lrs=[5e-4], epochs=[1, 2])
    made = reproduce("U-F4", tmp_path, config, **QUIET)
    points = made.table[made.table["epoch"].notna()]
    assert set(zip(points["method"], points["epoch"], strict=True)) == {(m, e) for m in methods for e in (1, 2)}
    lines = [trace for trace in made.figure.data if trace.mode == "lines"]
    assert len(lines) == 8 and all(len(trace.x) == 2 for trace in lines)


def test_focus(trained, demo, tmp_path):
    train = {"method": "undial", "gamma": 30.0, "batch_size": 8}
    for name in ("U-F5", "U-F6"):
        config = with_settings(trained, name, train=train, lrs=[1e-3], epochs=[1])
        made = reproduce(name, tmp_path, config, **QUIET)
        table = made.table[made.table["epoch"].notna()].set_index(["focus", "measure", "set"])["value"]
        assert set(table.index.get_level_values("focus")) == {"no focus", "value", "name"}
        assert table["name", "ma", "sequences"] != table["value", "ma", "sequences"]
    sequences = Facts.read(trained["models"]["tiny"]["facts"]["sequences"])
    model = dissect.load(demo / "base", progress=False)
    spans = {"focus": "hard", "focus_spans": lambda fact: fact.extra["spans"]["value"]}
    dissect.unlearn(model, forget=sequences, lr=1e-3, epochs=1, progress=False, **train, **spans)
    facts = Facts.read(demo / "forget.jsonl")
    expected = float(reproduced(model, facts.prompts(model)).float().mean())
    assert table["value", "exact_match", "forget"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sequential", "growing"])
def test_requests(name, trained, demo, tmp_path, monkeypatch):
    train = {"batch_size": 6, "epochs": 2, "lr": 5e-4}
    config = with_settings(trained, name, train=train, methods={"GA": {"method": "ga"}}, n_requests=2)
    made = reproduce(name, tmp_path, config, **QUIET)
    values = made.table[made.table["measure"] == "exact_match"].set_index(["method", "request", "set"])["value"]
    assert values["GA", 1, "so far"] == values["GA", 1, "this request"] == values["GA", 1, "first request"]
    assert values["base", 0, "so far"] == 1 and ("GA", 2, "still to come") not in values.index
    forget = Facts.read(demo / "forget.jsonl")
    model = dissect.load(demo / "base", progress=False)
    for part in (forget[:9], forget[9:]) if name == "sequential" else (forget,):
        dissect.unlearn(model, forget=part, method="ga", progress=False, **train)
    asked = {"so far": forget, "first request": forget[:9], "this request": forget[9:]}
    for set, facts in asked.items():
        expected = float(reproduced(model, facts.prompts(model)).float().mean())
        assert values["GA", 2, set] == pytest.approx(expected)
    monkeypatch.setattr("dissect.reproductions.figures.request_figures.each_request", None)
    pd.testing.assert_frame_equal(reproduce(name, tmp_path, config, **QUIET).table, made.table)


def test_noise_is_taken_back_bit_for_bit(demo):
    model = dissect.load(demo / "base", progress=False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(KeyboardInterrupt), noised(model, 1, 3, 0.1, torch.Generator().manual_seed(0)):
        change = model.blocks[1].mlp.W_out[3] - before["blocks.1.mlp.W_out"][3]
        assert change.std().item() == pytest.approx(0.1, rel=0.4)
        raise KeyboardInterrupt
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_the_vector_of_an_answer_is_the_one_that_says_it_most(demo):
    model = dissect.load(demo / "base", progress=False)
    values = np.stack([block.mlp.W_out.detach().numpy() for block in model.blocks])
    for token in (5, 40):
        scores = values @ model.unembed.W_U.detach().numpy()[:, token]
        assert strongest(model, token) == np.unravel_index(scores.argmax(), scores.shape)


def test_answers_after_noise_are_those_of_plain_transformers(given, demo, tmp_path):
    config = with_settings(given, "CV-F1", scales=[2.0], n_concepts=3, n_unrelated=6, max_new_tokens=6)
    made = reproduce("CV-F1", tmp_path, config, **QUIET)
    singles = pd.read_csv(tmp_path / "CV-F1-concepts.csv").query("measure == 'ROUGE-L' and vector == 'concept vector'")
    tokenizer = AutoTokenizer.from_pretrained(demo / "base")
    plain = AutoModelForCausalLM.from_pretrained(demo / "base", dtype=torch.float32)
    model = dissect.load(demo / "base", progress=False)
    parts = [Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain_unseen", "retain_seen")]
    facts = Facts([fact for part in parts for fact in part])
    concepts = concepts_of(model, facts, None, n=3, n_unrelated=6, seed=0)

    def says(facts):
        texts = [tokenizer(f"Question: {fact.question}\nAnswer:", return_tensors="pt").input_ids for fact in facts]
        how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        return [
            tokenizer.decode(plain.generate(ids, **how)[0, ids.shape[1] :], skip_special_tokens=True) for ids in texts
        ]

    changed = 0
    for number, concept in enumerate(concepts):
        assert all(fact.answer == concept.name for fact in concept.target)
        assert not any(fact.answer == concept.name for fact in concept.unrelated) and len(concept.unrelated) == 6
        noise = 2.0 * torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(number))
        weight = plain.model.layers[concept.layer].mlp.down_proj.weight.data
        kept = weight.clone()
        for name, asked in (("target", concept.target), ("unrelated", concept.unrelated)):
            before = says(asked)
            weight[:, concept.neuron] += noise
            after = says(asked)
            weight.copy_(kept)
            same = [a == b for a, b in zip(before, after, strict=True)]
            row = singles[(singles["concept"] == concept.name) & (singles["set"] == name)].iloc[0]
            assert (row["layer"], row["neuron"]) == concept.place
            assert [value > 0.99 for value in json.loads(row["items"])] == same
            changed += same.count(False)
    assert changed > 0
    control = made.table[made.table["vector"] == "vector drawn at random"]
    assert len(control) == 4 and control["value"].between(0, 1 + 1e-9).all()


def test_annotated_concept_vectors_are_taken(demo):
    model = dissect.load(demo / "base", progress=False)
    own = {"Concept": "a", "Layer": 2, "Dim": 5}
    facts = Facts([Fact(question="Who?", extra=own), Fact(question="What?", extra=own)])
    unrelated = Facts([Fact(question="Where?", extra={"Concept": "a"}), Fact(question="When?", extra={"Concept": "b"})])
    (concept,) = concepts_of(model, facts, unrelated, n=None, n_unrelated=10, seed=0)
    assert concept.place == (2, 5) and len(concept.target) == 2
    assert [fact.question for fact in concept.unrelated] == ["Where?"]
    with pytest.raises(DissectError, match="take the concepts of this model"):
        far = Facts([Fact(question="Who?", extra={**own, "Dim": 10**6})])
        concepts_of(model, far, unrelated, n=None, n_unrelated=10, seed=0)


def test_the_forty_published_checkpoints_by_pattern():
    config = read_config("dissecting-ft", FIGURES)
    names = [checkpoint.source for model in config.models for checkpoint in model.unlearned]
    ids = {"llama2-7b": [16, 18, 21, 26, 27, 38, 42, 47, 49, 54], "olmo-7b": [4, 37, 40, 44, 59, 77, 90, 105, 141, 147]}
    expected = {
        f"YihuaiHong/{model}_{method}_unlearn_on_id_{id}_concept"
        for model, several in ids.items()
        for method in ("dpo", "grad_diff")
        for id in several
    }
    assert len(names) == 40 and set(names) == expected
    assert config.template == "Question: {question}\n Answer:"
    assert [len(model.ids) for model in config.models] == [10, 10]


@pytest.mark.parametrize("name", available())
def test_every_shipped_config_can_be_read(name):
    config = read_config(name, FIGURES)
    assert all(model.facts for model in config.models)


def test_facts_of_a_concept_are_found_by_its_id(concepts):
    (model,) = read_config(concepts / "config.yaml").models
    read = model.facts["forget"].read("12", model.beside)
    assert len(read) == 3 and {fact.extra["Concept"] for fact in read} == {"person 12"}


ONE = {"base": "b", "facts": {"forget": "f.jsonl"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "must be a mapping"),
        ({}, "models: give at least one"),
        ({"model": {}}, "did you mean 'models'"),
        ({"models": {"a": {}}}, "model 'a': base must be the checkpoint"),
        ({"models": {"a": {"base": "b", "unlerned": "c"}}}, "did you mean 'unlearned'"),
        ({"models": {"a": {**ONE, "unlearned": "c_{metod}", "methods": ["x"]}}}, r"\{metod\} \(did you mean 'method'"),
        ({"models": {"a": {**ONE, "unlearned": "c_{id}"}}}, "there are no ids: list them"),
        ({"models": {"a": {**ONE, "unlearned": "c", "ids": [1]}}}, r"\{id\} is not in 'c'"),
        ({"models": {"a": {**ONE, "ids": [1]}}}, "ids without unlearned"),
        ({"models": {"a": {**ONE, "unlearned": "c_{id}", "ids": 1}}}, "ids must be a list"),
        ({"models": {"a": {**ONE, "unlearned": "c_{id}", "ids": [1, 1]}}}, "without repetitions"),
        ({"models": {"a": {**ONE, "unlearned": "c_{id", "ids": [1]}}}, "expected '}'"),
        ({"models": {"a": {"base": "b", "facts": {"forgot": "f"}}}}, "did you mean 'forget'"),
        ({"models": {"a": {"base": "b", "facts": {"forget": {"concept": "1"}}}}}, "file must name a file of facts"),
        ({"models": {"a": {"base": "b", "facts": {"forget": "f_{id}"}}}}, "lists no ids"),
        ({"models": {"a": {"base": "b", "facts": {"forget": "f_{method}"}}}}, r"no placeholder \{method\}"),
        ({"models": {"a": ONE}, "settings": {"D-F9": {}}}, "no figure 'D-F9'"),
        ({"models": {"a": ONE}, "settings": {"D-F2": 5}}, "settings of D-F2 must be a mapping"),
        ({"models": {"a": ONE}, "batch_size": 0}, "batch_size"),
        ({"models": {"a": ONE}, "template": "Why?"}, "question"),
    ],
)
def test_mistakes_in_a_config_are_named(content, said, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(DissectError, match=said) as caught:
        read_config(path, FIGURES)
    assert str(caught.value).startswith("mine.yaml: ") and "\n" not in str(caught.value)


def test_what_a_figure_needs_is_said_before_any_work(given, trained, tmp_path):
    def fails(name, config, said):
        with pytest.raises(DissectError, match=said):
            reproduce(name, tmp_path / "out", config, **QUIET)

    fails("D-F2", trained, "D-F2 needs unlearned of model 'tiny'")
    fails("D-F9", given, "did you mean 'd-f")
    fails("D-F2", with_settings(given, "D-F2", windw=3), "did you mean 'window'")
    fails("U-F1", with_settings(given, "U-F1", over={"rate": [1]}), "no training setting 'rate'")
    fails("U-F1", with_settings(given, "U-F1", over={"lr": 1}), "give a list of values")
    fails("U-F1", with_settings(given, "U-F1", epochs=[0]), "whole numbers from 1 on")
    fails("U-F1", with_settings(given, "U-F1", train={"method": "gaa"}), "U-F1, lr=0.0001.*did you mean 'ga'")
    fails("sequential", with_settings(given, "sequential", n_requests=99), "18 forget facts can be cut into 2 to 18")
    fails("D-F3", with_settings(trained, "D-F3", methods=["ga"]), "give settings by name")
    model = {**given["models"]["tiny"], "facts": {"forget": given["models"]["tiny"]["facts"]["forget"]}}
    fails("D-F3", {"models": {"tiny": model}}, "needs facts 'unrelated' of model 'tiny'")
    fails("UDS", {"models": {"tiny": {**model, "retrained": None}}}, "UDS needs retrained")
    fails("UDS", {"models": {"tiny": {**model, "facts": {"forget": "nowhere.jsonl"}}}}, "nowhere.jsonl")
    lone = {key: value for key, value in model.items() if key not in ("unlearned", "methods")}
    fails("U-F4", {"models": {"tiny": lone}}, "GradDiff: it has a retain loss: give facts 'retain_seen'")
    sequences = {**lone, "facts": {"sequences": given["models"]["tiny"]["facts"]["texts"]}}
    fails("U-F5", {"models": {"tiny": sequences}}, "has no 'spans'")
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_the_list_needs_no_torch():
    code = "import sys; from dissect.cli import main; main(['reproduce', '--list']); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.endswith("False\n")
    assert all(name in said for name in (*FIGURES, *available()))


def test_the_command(given, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({**given, "models": {"tiny": {**given["models"]["tiny"], "methods": ["ga"]}}}))
    out = tmp_path / "figures"
    assert main(["reproduce", "uds", "--config", str(path), "--out", str(out), "-q"]) == 0
    assert f"saved {out / 'UDS.csv'}" in capsys.readouterr().out
    assert pd.read_csv(out / "UDS.csv")["method"].tolist() == ["base", "retrained", "ga"]
    assert main(["reproduce", "UDX", "--out", str(out)]) == 2
    assert "did you mean 'uds'" in capsys.readouterr().err
    assert main(["reproduce", "--out", str(out)]) == 2
    assert "--list" in capsys.readouterr().err
    assert main(["reproduce", "UDS", "--config", "dissecting", "--out", str(out)]) == 2
    assert "dissecting-ft" in capsys.readouterr().err
