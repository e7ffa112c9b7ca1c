"""A disk that is full, at whatever byte: the file is named in one line, and nothing is left or lost."""

import resource
from contextlib import contextmanager

import pytest
import torch

import dissect
from dissect.errors import DissectError
from dissect.models.files.save_adapter import save_adapter
from dissect.sweep.cache import ActivationStore, CacheOptions
from dissect.unlearning.run.run_files import RunFiles
from dissect.unlearning.run.run_state import State
from tests.support.tiny import make_checkpoint


@contextmanager
def room_for(size):
    """No file may grow beyond so many bytes: the nearest to a full disk that a test can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def fails(act, size, named):
    """``act`` says that ``named`` cannot be written, in one line."""
    with pytest.raises((DissectError, OSError)) as raised, room_for(size):
        act()
    said = str(raised.value)
    assert str(named) in said and "\n" not in said and "File too large" in said, said


@pytest.fixture
def model(tmp_path):
    return dissect.load(make_checkpoint("llama", tmp_path / "model"), progress=False)


SIZES = [0, 300, 1500, 5000, 20000]
"""Within the config, the tokenizer and the weights."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_of_a_checkpoint_nothing_is_left_and_the_old_one_stays(model, tmp_path, size, overwrite):
    out = tmp_path / "out"
    if overwrite:
        dissect.save_hf(model, out)
    before = contents(tmp_path)
    fails(lambda: dissect.save_hf(model, out, overwrite=overwrite), size, tmp_path)
    assert contents(tmp_path) == before and out.exists() == overwrite


@pytest.mark.parametrize("size", [0, 300, 1000])
def test_of_an_adapter_nothing_is_left(model, tmp_path, size):
    factors = {"blocks.0.mlp.W_out": (torch.zeros(4, model.cfg.d_mlp), torch.zeros(model.cfg.d_model, 4))}
    before = contents(tmp_path)
    fails(lambda: save_adapter(model, factors, 8.0, tmp_path / "out"), size, tmp_path / "out")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size", [0, 400])
def test_the_state_of_a_run_stays_that_of_before(tmp_path, size):
    files = RunFiles(tmp_path / "out", {"config": 1}, overwrite=False)
    files.begin()
    files.save(State.of(1, {"leaf/w": torch.ones(300)}))
    before = contents(tmp_path)
    fails(lambda: files.save(State.of(2, {"leaf/w": torch.zeros(300)})), size, files.path)
    assert contents(tmp_path) == before
    if size == 0:
        fails(lambda: files.append({"event": "step"}), size, files.path / "unlearning.jsonl")
    files.remove()


def test_activations_that_find_no_room_name_their_file_and_go(tmp_path):
    store = ActivationStore(CacheOptions(directory=tmp_path))
    fails(lambda: store.put(0, {"a": torch.zeros(1000)}), 100, tmp_path)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_activations_of_a_killed_process_are_cleared_by_the_next(tmp_path):
    left = tmp_path / ".cache~dissect-abcd1234"
    left.mkdir()
    (left / "0.safetensors").write_bytes(b"many gigabytes")
    ActivationStore(CacheOptions(directory=tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


def test_facts_and_places_name_their_file(facts, tmp_path):
    fails(lambda: facts.write(tmp_path / "facts.jsonl"), 0, tmp_path / "facts.jsonl")
    assert list(tmp_path.iterdir()) == []
