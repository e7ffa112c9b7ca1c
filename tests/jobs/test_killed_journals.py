"""Work that is killed at any moment goes on, and what is left of work that is over does not stand in the way."""

import json
import os

import numpy as np
import pytest

from dissect.errors import JobError
from dissect.files import atomic_file
from dissect.jobs.journals import Journals
from dissect.jobs.left_journals import clear_journals
from dissect.jobs.task import task_of
from tests.support.killed import killed_before_each

ROW = {"krs": np.array([0.1, 0.7])}


def work(out, key="this"):
    """Two rows and a result, as a sweep does it."""

    def save():
        with atomic_file(out) as temporary:
            temporary.write_text(key)

    with Journals(out, key, task_of(None)) as journals:
        for batch in (0, 1):
            if 0 not in journals.rows(batch):
                journals.write(batch, 0, ROW)
        journals.finish(save)


@pytest.mark.parametrize("then", ["this", "other"])
def test_killed_before_any_operation_work_goes_on_and_leaves_its_result_alone(tmp_path, then):
    """Other work begins anew where the killed one had written its result; before that it is refused."""
    out, over = tmp_path / "sweep.nc", 0
    for made in killed_before_each(lambda: work(out)):
        if then == "other" and not out.exists() and list(tmp_path.glob("*.partial")):
            if b"batch" in (tmp_path / "sweep.nc.partial").read_bytes():
                with pytest.raises(JobError, match="begun with other"):
                    work(out, then)
            work(out)
        else:
            over += out.exists()
            work(out, then)
        assert out.read_text() in ("this", then) and list(tmp_path.iterdir()) == [out], made
        out.unlink()
    assert over > 0


def test_journals_of_a_result_that_is_there_are_cleared(tmp_path):
    """By whoever is refused because it is there; others, and those of unfinished work, stay."""
    out = tmp_path / "sweep.nc"
    for _ in killed_before_each(lambda: work(out)):
        was_there = out.exists()
        unfinished = list(tmp_path.glob("*.partial"))
        clear_journals(out)
        assert list(tmp_path.glob("*.partial")) == ([] if was_there else unfinished)
        for path in tmp_path.iterdir():
            path.unlink()
    out.write_text("result")
    with Journals(out, "new", task_of(None)) as journals:
        journals.write(0, 0, ROW)
        later = out.stat().st_mtime_ns + 10**9
        os.utime(tmp_path / "sweep.nc.partial", ns=(later, later))
        clear_journals(out)
        assert (tmp_path / "sweep.nc.partial").is_file()


@pytest.mark.parametrize("text", ["years of work", json.dumps({"question": "Who?"}), '{"journal": "mine"}'])
def test_a_file_of_one_line_that_is_no_journal_is_not_emptied(tmp_path, text):
    (tmp_path / "sweep.nc.partial").write_text(text)
    with pytest.raises(JobError, match="no journal"):
        work(tmp_path / "sweep.nc")
    clear_journals(tmp_path / "sweep.nc")
    assert (tmp_path / "sweep.nc.partial").read_text() == text


def test_work_that_fails_before_anything_is_finished_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), Journals(tmp_path / "sweep.nc", "this", task_of(None)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), Journals(tmp_path / "sweep.nc", "this", task_of(None)) as journals:
        journals.write(0, 0, ROW)
        raise RuntimeError
    with pytest.raises(JobError, match="begun with other"):
        work(tmp_path / "sweep.nc", "other")
    work(tmp_path / "sweep.nc")


def test_a_killed_journal_without_results_gives_way_to_other_work(tmp_path):
    for _ in killed_before_each(lambda: Journals(tmp_path / "sweep.nc", "mistyped", task_of(None))):
        work(tmp_path / "sweep.nc")
        assert list(tmp_path.iterdir()) == [tmp_path / "sweep.nc"]
        (tmp_path / "sweep.nc").unlink()
