"""Experiments as files: every run checked before the first, and none made twice."""

import os

import pandas as pd
import pytest

import dissect
from dissect.reading.answers import reproduced
from dissect.reproductions.experiment import Experiment, available, read_experiment, run_experiment


def test_those_that_are_shipped_can_be_read():
    assert set(available()) == {"learning-rate", "strength", "methods", "in-turn", "growing", "paper-125m"}
    sizes = {name: len(list(read_experiment(name).runs())) for name in available()}
    assert sizes["learning-rate"] == 12
    assert sizes["paper-125m"] == 48


@pytest.mark.parametrize("kind", ["grid", "in_turn", "growing"])
def test_every_run_is_made_once(kind, demo, tmp_path):
    facts = {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain")}

    def evaluate(model):
        return {name: float(reproduced(model, each.prompts(model)).float().mean()) for name, each in facts.items()}

    settings = {"lr": 1e-3, "epochs": 4, "batch_size": 8}
    over = {"method": ["ga", "npo"]}
    experiment = Experiment(name="mine", kind=kind, settings=settings, over=over, n_requests=2)
    how = {**facts, "evaluate": evaluate, "out": tmp_path, "progress": False}
    table = run_experiment(experiment, demo / "base", **how)
    assert list(table.columns) == ["method", "request", "forget", "retain"]
    assert table["request"].tolist() == ([0, 1, 1] if kind == "grid" else [0, 1, 2, 1, 2])
    assert table["forget"][0] == 1.0
    assert (table.groupby("method")["forget"].last() < 0.5).all()
    # with retained facts beside it, NPO keeps more than gradient ascent
    last = table.groupby("method")["retain"].last()
    assert last["npo"] > last["ga"]
    times = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = run_experiment(experiment, demo / "base", **how)
    pd.testing.assert_frame_equal(again, table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table)
    assert times == {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: grit", "did you mean 'grid'"),
        ("kind: growing", "at least 2"),
        ("over: {lr: 1.0e-3}", "give a list"),
        ("over: {learning: [1]}", "no setting 'learning'"),
        ("over: {lr: [0.0]}", "lr=0.0: must be a positive number"),
        ("colour: red", "colour"),
        ("a: [", "mine.yaml"),
    ],
)
def test_what_is_no_experiment_is_refused(text, said, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(dissect.DissectError, match=said) as caught:
        read_experiment(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(dissect.DissectError, match="did you mean 'strength'"):
        read_experiment("strenght")
