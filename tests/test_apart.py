"""Nothing that is read is replaced by what is written."""

import os

import pytest

from dissect.apart import check_apart
from dissect.errors import DissectError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with a checkpoint, its facts, links to both, and a second name of the facts."""
    (tmp_path / "runs/base").mkdir(parents=True)
    (tmp_path / "runs/base/config.json").write_text("{}")
    (tmp_path / "facts.jsonl").write_text("{}")
    (tmp_path / "link").symlink_to("runs/base")
    (tmp_path / "linked.jsonl").symlink_to("facts.jsonl")
    os.link(tmp_path / "facts.jsonl", tmp_path / "hard.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("facts.jsonl", "facts.jsonl"),
        ("./runs/../facts.jsonl", "facts.jsonl"),
        ("linked.jsonl", "facts.jsonl"),
        ("facts.jsonl", "linked.jsonl"),
        ("hard.jsonl", "facts.jsonl"),
        ("runs/base", "runs/base/"),
        ("runs", "runs/base"),
        ("link", "runs/base"),
        ("runs", "link"),
        (".", "runs/base"),
        ("runs/base", ["other", "ga=runs/base"]),
        ("runs", {"base": "hub/name", "retrained": ("link",)}),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_what_is_read_is_not_replaced(here, output, read, absolute):
    with pytest.raises(DissectError, match=r"--out .* (lost|beside)"):
        check_apart({"--out": here / output if absolute else output}, {"model": read})


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("runs/new", "runs/base"),
        ("runs/base/verdict.json", "runs/base"),
        ("runs/basement", "runs/base"),
        ("new.jsonl", "facts.jsonl"),
        ("gpt2", "gpt2"),
        ("runs", ["meta-llama/Llama-2-7b", 3, None, 0.5, True, "a\0b", "x" * 5000]),
    ],
)
def test_what_lies_apart_is_written(here, output, read):
    check_apart({"--out": output, "--table": None}, {"model": read})


def test_two_outputs_are_two_files(here):
    with pytest.raises(DissectError, match="--figure and --out"):
        check_apart({"--out": "a/b.html", "--figure": "a/../a/b.html"}, {})
