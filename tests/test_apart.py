"""Nothing that is read is replaced by what is written."""

import json
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
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "runs/base"}))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/config.json").symlink_to("../runs/base/config.json")
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
        ("runs/base/config.json", "runs/base"),
        ("link/config.json", "runs/base"),
        ("runs/base/Config.json/../config.json", "link"),
        ("runs/base", "adapter"),
        ("runs", "adapter"),
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
        ("runs/base/evals/config.json", "runs/base"),
        ("runs/base/tokenizer.json", "runs/base"),
        ("adapter2", "adapter"),
        ("facts", "facts.jsonl"),
        ("facts.jsonl/", ""),
        ("runs/basement", "runs/base"),
        ("new.jsonl", "facts.jsonl"),
        ("gpt2", "gpt2"),
        ("runs", ["meta-llama/Llama-2-7b", 3, None, 0.5, True, "a\0b", "x" * 5000]),
    ],
)
def test_what_lies_apart_is_written(here, output, read):
    check_apart({"--out": output, "--table": None}, {"model": read})


@pytest.mark.parametrize("output", ["snapshot/config.json", "runs/base/config.json"])
def test_a_link_for_a_file_of_a_checkpoint_is_a_file_of_it(here, output):
    """As in the cache of the hub, where every file is a link into another directory."""
    with pytest.raises(DissectError, match="would be lost"):
        check_apart({"--out": output}, {"model": output.rpartition("/")[0]})


@pytest.mark.parametrize("inner", ["", "/inner"])
@pytest.mark.parametrize("end", [".partial", ".partial-3", ".last-good"])
def test_unfinished_work_stands_where_nothing_is_read(here, end, inner):
    (here / f"new{end}{inner}").mkdir(parents=True)
    with pytest.raises(DissectError, match="keeps unfinished work where"):
        check_apart({"--out": "new"}, {"model": f"new{end}{inner}"})
    check_apart({"--out": "newer"}, {"model": f"new{end}{inner}"})


def test_two_outputs_are_two_files(here):
    with pytest.raises(DissectError, match="--figure and --out"):
        check_apart({"--out": "a/b.html", "--figure": "a/../a/b.html"}, {})


def test_an_output_that_is_written_as_a_whole_holds_no_other(here):
    for outputs in ({"--out": "run", "--tensorboard": "run/events"}, {"--tensorboard": "run/events", "--out": "run"}):
        with pytest.raises(DissectError, match="--tensorboard lies in --out"):
            check_apart(outputs, {})
    check_apart({"--out": "results/page.html", "--folder": "results"}, {})
    check_apart({"--tensorboard": "runs", "--out": "runs/new"}, {})


@pytest.mark.parametrize("damage", ["[", "[]", "{}", '{"base_model_name_or_path": 3}', "[" * 100_000])
def test_damaged_adapters_are_refused_elsewhere(here, damage):
    (here / "adapter/adapter_config.json").write_text(damage)
    check_apart({"--out": "runs/new"}, {"model": "adapter"})


@pytest.mark.parametrize("output", ["x" * 5000, "a/" * 3000, "loop/x", "facts.jsonl/x"])
def test_names_that_no_file_can_have_are_refused_elsewhere(here, output):
    (here / "loop").symlink_to("loop")
    check_apart({"--out": output}, {"model": ["runs/base", "loop"]})


def test_a_name_with_nul_is_refused(here):
    with pytest.raises(DissectError, match="NUL"):
        check_apart({"--out": "a\0b"}, {})
