"""Figures made by several processes: the tables of one, and nothing done twice."""

import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from dissect.errors import JobError, Unfinished
from dissect.reproductions.figures import reproduce
from dissect.reproductions.making import training_runs as training
from dissect.reproductions.making import world_config as world_module
from dissect.reproductions.making.make_figure import Reproduced
from tests.support.tiny import make_checkpoint

QUIET = {"progress": False, "images": False}
GRID = {"over": {"lr": [1e-3, 2e-3, 3e-3]}, "epochs": [1], "train": {"method": "ga", "batch_size": 2}}


@pytest.fixture(scope="module")
def config(tiny_pair, facts, tmp_path_factory) -> dict:
    here = tmp_path_factory.mktemp("given")
    for seed, name in enumerate(("first", "second", "third"), start=1):
        make_checkpoint("llama", here / name, seed=seed)
    facts.write(here / "facts.jsonl")
    model = {"base": str(tiny_pair("llama")[0]), "unlearned": str(here / "{method}")}
    model |= {"methods": ["first", "second", "third"], "facts": {"forget": str(here / "facts.jsonl")}}
    short = {"window": 1, "max_new_tokens": 3}
    return {"models": {"tiny": model}, "settings": {"D-F2": short, "U-F1": GRID}}


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> dict[str, Path]:
    """Figures made by one process."""
    out = tmp_path_factory.mktemp("one")
    for figure in ("D-F2", "U-F1"):
        reproduce(figure, out, config, **QUIET)
    return out


def same(out: Path, whole: Path, figure: str) -> None:
    assert (out / f"{figure}.csv").read_bytes() == (whole / f"{figure}.csv").read_bytes()
    found, expected = (json.loads((where / f"{figure}.json").read_text()) for where in (out, whole))
    assert {**found, "command": ""} == {**expected, "command": ""}
    kept, there = ({path.name for path in (where / figure / "results").iterdir()} for where in (out, whole))
    assert kept == there


def noting(monkeypatch, log: Path, dies: bool = False) -> None:
    """Write down each run of training; end the process, without a word, at one of them."""
    original = training.Runs._train

    def noted(self, config, *arguments):
        if dies and config.lr == 2e-3:
            os._exit(9)
        with log.open("a") as file:
            file.write(f"{config.lr}\n")
        return original(self, config, *arguments)

    monkeypatch.setattr(training.Runs, "_train", noted)


@pytest.mark.parametrize("figure", ["D-F2", "U-F1"])
def test_ranks_make_the_table_of_one_process(figure, config, whole, as_ranks, tmp_path, monkeypatch):
    log = tmp_path.with_suffix(".log")
    log.touch()

    def rank(number: int) -> None:
        noting(monkeypatch, log)
        made: Reproduced = reproduce(figure, tmp_path, config, **QUIET)
        table = pd.read_csv(whole / f"{figure}.csv")
        assert len(made.table) == len(table) and all(file.is_file() for file in made.files)

    assert as_ranks(2, rank) == [0, 0]
    same(tmp_path, whole, figure)
    assert sorted(log.read_text().split()) == (["0.001", "0.002", "0.003"] if figure == "U-F1" else [])


def test_checkpoints_of_a_figure_are_dealt_and_not_their_cells(config, whole, tmp_path, monkeypatch):
    with pytest.raises(Unfinished, match=r"of task 1/2 \(tiny first, tiny third\)"):
        reproduce("D-F2", tmp_path, config, task="2/2", **QUIET)
    kept = [path.name for path in (tmp_path / "D-F2" / "results").glob("*.nc")]
    assert len(kept) == 2 and all("second" in name for name in kept)
    reproduce("D-F2", tmp_path, config, task="1/2", **QUIET)
    same(tmp_path, whole, "D-F2")


def test_a_dead_rank_ends_the_job_and_the_next_one_goes_on(config, whole, as_ranks, tmp_path, monkeypatch):
    log = tmp_path.with_suffix(".log")

    def rank(number: int) -> None:
        os.environ["DISSECT_TIMEOUT"] = "2"
        noting(monkeypatch, log, dies=True)
        with pytest.raises(JobError, match=r"waited for 2 s .* missing are results of rank \d \(tiny lr=0.002\)"):
            reproduce("U-F1", tmp_path, config, **QUIET)

    began = time.monotonic()
    assert sorted(as_ranks(2, rank)) == [0, 9]
    assert time.monotonic() - began < 120
    noting(monkeypatch, log)
    reproduce("U-F1", tmp_path, config, **QUIET)
    same(tmp_path, whole, "U-F1")
    assert sorted(log.read_text().split()) == ["0.001", "0.002", "0.003"]


def test_one_makes_the_world_and_the_others_find_it(config, as_ranks, tmp_path, monkeypatch):
    log = tmp_path.with_suffix(".log")

    def made(where: Path, **options) -> dict:
        if not (where / "made").is_file():
            with log.open("a") as file:
                file.write("made\n")
            time.sleep(0.3)
            where.mkdir(parents=True)
            (where / "made").touch()
        return config

    def rank(number: int) -> None:
        monkeypatch.setattr(world_module, "world_config", made)
        reproduce("D-F2", tmp_path, None, **QUIET)

    assert as_ranks(2, rank) == [0, 0]
    assert log.read_text() == "made\n"
