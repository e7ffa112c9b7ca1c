"""A report made by several processes: the files of one, a page written once, refusals that reach all."""

import json
import os
import time
from pathlib import Path

import pytest

import dissect
from dissect.autopsy import report
from dissect.autopsy import steps as work
from dissect.autopsy.report import Report
from dissect.autopsy.results import Results
from dissect.errors import JobError, Unfinished
from dissect.sweep import runner

SWEEPS = ("activations", "positions", "heads")
HOW = {
    "steps": ("evaluation", *SWEEPS, "smallest", "lens", "facts", "drift"),
    "measures": ("exact_match",),
    "answers": "gold",
}


@pytest.fixture(scope="module")
def made(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)

    def run(out: Path, **options) -> Report:
        options = HOW | {"batch_size": 2, "max_new_tokens": 4, "max_facts": 2, "n_shown": 1} | options
        return dissect.report(pair, forget=facts, out=out / "report.html", progress=False, **options)

    return run


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> Results:
    return made(tmp_path_factory.mktemp("one")).results


@pytest.fixture(autouse=True, scope="module")
def quick():
    """What takes longest and has tests of its own: the page, and the search for the smallest set, refused here."""

    def refused(*arguments, **options):
        raise dissect.DissectError("nothing to recover")

    def build(results, page, **options):
        with page.open("a") as file:
            file.write("page")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "build", build)
        patch.setattr(work, "smallest_set", refused)
        yield


def same(found: Results, whole: Results) -> None:
    assert found.evaluation.rows == whole.evaluation.rows and found.evaluation.models == whole.evaluation.models
    for step in SWEEPS:
        assert getattr(found, step).data.identical(getattr(whole, step).data)
    assert found.lens.data.identical(whole.lens.data)
    assert found.facts == whole.facts
    assert found.drift.layers.identical(whole.drift.layers)
    assert (
        found.missing
        == whole.missing
        == dict.fromkeys(("parameters", "verdict"), "it was not computed") | {"smallest": "nothing to recover"}
    )
    assert {**found.about, "seconds": 0} == {**whole.about, "seconds": 0}
    assert list(found.about["seconds"]) == list(whole.about["seconds"])


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


RESULTS = ("report.json", "evaluation.json", "facts.json", "lens.nc", "drift.nc", *(f"{step}.nc" for step in SWEEPS))
WRITTEN = {"report.html", *(f"report.html.results/{name}" for name in RESULTS)}


def test_ranks_write_what_one_process_writes(made, whole, as_ranks, tmp_path):
    def rank(number: int) -> None:
        done = made(tmp_path)
        assert done.path.read_text() == "page"  # written once
        same(done.results, whole)

    assert as_ranks(2, rank) == [0, 0]
    assert files(tmp_path) == WRITTEN


def test_tasks_of_a_job_array(made, whole, tmp_path):
    with pytest.raises(Unfinished, match=r"task 2/2 has done its part of .*: evaluation, activations, "):
        made(tmp_path, task="2/2")
    assert "report.html" not in files(tmp_path) and "report.html.results/lens.nc" in files(tmp_path)
    same(made(tmp_path, task="1/2").results, whole)
    assert files(tmp_path) == WRITTEN


def test_a_dead_rank_ends_the_job_and_the_next_one_goes_on(made, whole, as_ranks, tmp_path, monkeypatch):
    def rank(number: int) -> None:
        os.environ["DISSECT_TIMEOUT"] = "2"
        original, done = runner._Run._measured, []

        def dying(*arguments):
            done.append(1)
            if number == 1 and len(done) == 4:
                os._exit(9)
            return original(*arguments)

        monkeypatch.setattr(runner._Run, "_measured", dying)
        with pytest.raises(JobError, match=r"rank 0 has waited for 2 s .* missing are results of rank 1"):
            made(tmp_path)

    began = time.monotonic()
    assert as_ranks(2, rank) == [0, 9]
    assert time.monotonic() - began < 120
    about = json.loads((tmp_path / "report.html.results" / "report.json").read_text())
    assert about["missing"] == {}  # that it was interrupted is no reason why there is nothing
    same(made(tmp_path).results, whole)
    assert files(tmp_path) == WRITTEN


def test_a_rank_that_comes_when_a_step_is_there_is_waited_for(made, whole, as_ranks, tmp_path):
    """All cells stand in journals of tasks: the first rank finishes steps alone, and the other comes late."""
    steps = {"steps": ("activations", "positions")}
    with pytest.raises(Unfinished):
        made(tmp_path, task="1/2", **steps)
    folder = tmp_path / "report.html.results"
    kept = {path.name: path.read_bytes() for path in folder.glob("*.partial*")}
    made(tmp_path, task="2/2", **steps)
    (folder / "activations.nc").unlink()
    for name, content in kept.items():
        (folder / name).write_bytes(content)

    def rank(number: int) -> None:
        made(tmp_path, **steps)

    assert as_ranks(2, rank, late=1) == [0, 0]
    found = Results.read(folder)
    assert found.activations.data.identical(whole.activations.data) and not list(folder.glob("*.partial*"))
