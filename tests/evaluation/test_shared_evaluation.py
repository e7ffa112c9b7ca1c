"""Checkpoints shared by processes: the numbers of one, whoever dies or comes when."""

import json
import os
import time

import pytest

import dissect
from dissect.cli import main
from dissect.errors import JobError, Unfinished
from dissect.evaluation import evaluate as evaluating
from dissect.evaluation.evaluation_result import Evaluation

MEASURES = ["exact_match", "answer_probability"]
MODELS = ["base", "first", "second"]


@pytest.fixture(scope="module")
def asked(tiny_pair, facts):
    base, moved = tiny_pair("llama")

    def run(**options) -> Evaluation:
        given = {"first": moved, "second": base, **options.pop("models", {})}
        how = {"forget": facts, "base": base, "measures": MEASURES, "max_new_tokens": 4, "progress": False}
        return dissect.evaluate(given, **how | options)

    return run


def noting(monkeypatch, log, dies_at: str | None = None) -> None:
    """Write down which checkpoints are measured; end the process at one of them, without a word."""
    original = evaluating.measured

    def noted(examined, *arguments, **options):
        if examined.name == dies_at:
            os._exit(9)
        with log.open("a") as file:
            file.write(f"{examined.name}\n")
        return original(examined, *arguments, **options)

    monkeypatch.setattr(evaluating, "measured", noted)


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_measure_each_checkpoint_once_and_all_return_all(count, asked, as_ranks, tmp_path, monkeypatch):
    out, log, whole = tmp_path / "m.json", tmp_path.with_suffix(".log"), asked()

    def rank(number: int) -> None:
        noting(monkeypatch, log)
        found = asked(out=out)
        assert found.rows == whole.rows and found.answers == whole.answers and found.models == whole.models

    assert as_ranks(count, rank, late=count - 1) == [0] * count
    assert sorted(log.read_text().split()) == MODELS
    assert Evaluation.load(out).to_dict() == json.loads(json.dumps(whole.to_dict()))
    assert list(tmp_path.iterdir()) == [out]


def test_loaded_models_are_shared_by_what_they_hold(asked, tiny_pair, as_ranks, tmp_path, monkeypatch):
    out, log = tmp_path / "m.json", tmp_path.with_suffix(".log")
    base = dissect.load(tiny_pair("llama")[0], progress=False)
    models = {"second": base, "first": dissect.load(tiny_pair("llama")[1], progress=False)}
    with pytest.raises(Unfinished):
        asked(base=base, models=models, out=out, task="1/2")
    base.blocks[0].mlp.W_out.data.mul_(2)  # then nothing that was measured of it is of this model

    def rank(number: int) -> None:
        noting(monkeypatch, log)
        asked(base=base, models=models, out=out)

    assert as_ranks(2, rank) == [0, 0]
    assert sorted(log.read_text().split()) == MODELS


def test_tasks_of_a_job_array(asked, tmp_path, monkeypatch):
    out, whole = tmp_path / "m.json", asked()
    with pytest.raises(Unfinished, match=r"task 2/2 has done .*, of task 1/2 \(base, second\)"):
        asked(out=out, task="2/2")
    with monkeypatch.context() as patch:
        noting(patch, log := tmp_path.with_suffix(".log"))
        assert asked(out=out, task="1/2").rows == whole.rows
    assert log.read_text().split() == ["base", "second"] and list(tmp_path.iterdir()) == [out]
    with pytest.raises(dissect.DissectError, match="exists: choose another name"):
        asked(out=out, task="2/2")
    with pytest.raises(dissect.DissectError, match="say where with out="):
        asked(task="1/2")


def test_a_dead_rank_ends_the_job_and_the_next_one_goes_on(asked, as_ranks, tmp_path, monkeypatch):
    out, log = tmp_path / "m.json", tmp_path.with_suffix(".log")

    def rank(number: int) -> None:
        os.environ["DISSECT_TIMEOUT"] = "2"
        noting(monkeypatch, log, dies_at="first")
        with pytest.raises(JobError, match=r"rank 0 has waited for 2 s .* missing are results of rank 1 \(first\)"):
            asked(out=out)

    began = time.monotonic()
    assert as_ranks(2, rank) == [0, 9]
    assert time.monotonic() - began < 120 and not out.exists()

    def rest(number: int) -> None:
        noting(monkeypatch, log)
        asked(out=out)

    assert as_ranks(3, rest) == [0] * 3
    assert sorted(log.read_text().split()) == MODELS and list(tmp_path.iterdir()) == [out]


def test_a_rank_that_takes_longer_than_others_wait_is_alive(asked, as_ranks, tmp_path, monkeypatch):
    def rank(number: int) -> None:
        os.environ["DISSECT_TIMEOUT"] = "2"
        original = evaluating.measured
        monkeypatch.setattr(evaluating, "measured", lambda *a, **k: time.sleep(3 * number) or original(*a, **k))
        asked(out=tmp_path / "m.json")

    assert as_ranks(2, rank) == [0, 0]


def test_the_command_of_tasks_and_of_ranks(tiny_pair, facts, tmp_path, capsys, as_ranks):
    facts.write(tmp_path / "facts.jsonl")
    base, moved = map(str, tiny_pair("llama"))
    command = ["evaluate", moved, "--base", base, "--forget", str(tmp_path / "facts.jsonl"), "--quiet"]
    command += ["--measures", "exact_match", "--max-new-tokens", "4", "--out"]
    assert main([*command, str(tmp_path / "tasks.json"), "--task", "1/2"]) == 0
    assert "task 1/2 has done its part" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "tasks.json"), "--task", "2/2"]) == 0
    assert "saved" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "x.json"), "--task", "3/2"]) == 2
    assert "give number/count" in capsys.readouterr().err

    def rank(number: int) -> None:
        assert main([*command, str(tmp_path / "ranks.json")]) == 0
        assert ("saved" in capsys.readouterr().out) == (number == 0)

    assert as_ranks(2, rank) == [0, 0]
    assert Evaluation.load(tmp_path / "ranks.json").rows == Evaluation.load(tmp_path / "tasks.json").rows
