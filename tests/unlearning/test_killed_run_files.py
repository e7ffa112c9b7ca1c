"""The directory of a run that is killed at any moment is taken up by the same command, and cleared at its end."""

import pytest
import torch

from dissect.errors import DissectError
from dissect.files import atomic_directory
from dissect.unlearning.run.run_files import LOG_FILE, RunFiles
from dissect.unlearning.run.run_state import State
from tests.support.killed import killed_before_each

IDENTITY = {"config": {"lr": 0.1}, "data": "facts"}


def run(out, identity=IDENTITY, overwrite=False):
    """A run of one step."""
    files = RunFiles(out, identity, overwrite=overwrite)
    if (state := files.load()) is None:
        files.begin()
        files.save(State.of(1, {"step/w": torch.ones(()), "leaf/w": torch.ones(2)}))
    else:
        assert state.step == 1
    log = (files.path / LOG_FILE).read_text()
    with atomic_directory(out, overwrite=overwrite or RunFiles.was_written_by(out, identity)) as directory:
        (directory / "config.json").write_text("{}")
        (directory / LOG_FILE).write_text(log)
    files.remove()


def again(out):
    """The same command once more, as `dissect unlearn` does it."""
    if RunFiles.is_of(out, IDENTITY):
        RunFiles.clear(out, IDENTITY)
    else:
        run(out)


def test_killed_before_any_operation_the_same_command_goes_on(tmp_path):
    out, ends = tmp_path / "out", set()
    for made in killed_before_each(lambda: run(out)):
        ends.add((out.exists(), (tmp_path / "out.partial").exists()))
        again(out)
        assert list(tmp_path.iterdir()) == [out] and RunFiles.is_of(out, IDENTITY), made
        (out / "config.json").unlink()
        (out / LOG_FILE).unlink()
        out.rmdir()
    assert ends == {(False, False), (False, True), (True, True), (True, False)}


def test_files_of_another_run_are_not_cleared(tmp_path):
    out = tmp_path / "out"
    other = RunFiles(out, {"config": "other"}, overwrite=False)
    other.begin()
    other.save(State.of(1, {"leaf/w": torch.ones(2)}))
    del other  # its process ended
    RunFiles.clear(out, IDENTITY)
    assert (tmp_path / "out.partial" / LOG_FILE).is_file()
    with pytest.raises(DissectError, match="unfinished run of other settings"):
        RunFiles(out, IDENTITY, overwrite=False)


def test_a_run_of_other_settings_that_saved_nothing_gives_way(tmp_path):
    """A mistyped setting, noticed and interrupted in time, is not to be repeated or deleted by hand."""
    RunFiles(tmp_path / "out", {"config": "mistyped"}, overwrite=False).begin()
    run(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
