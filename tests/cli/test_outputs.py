"""No command replaces what it reads; nothing is loaded to find that out."""

import json

import pytest

from dissect import cli, evaluate, verdict
from dissect.errors import DissectError

ASKED = ["--forget", "facts.json"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    for place in ("runs/base", "runs/new"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
    for name in ("facts.json", "facts.csv", "page.html", "sweep.nc", "settings.yaml"):
        (tmp_path / name).write_text(json.dumps([{"question": "Who?", "answer": "I"}]))
    (tmp_path / "link.json").symlink_to("facts.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        ["unlearn", "runs/base", "--out", "runs", *ASKED, "--method", "ga", "--overwrite"],
        ["unlearn", "runs/base", "--out", "runs/base", *ASKED, "--method", "ga", "--overwrite"],
        [
            "unlearn",
            "runs/base",
            "--out",
            "runs/new",
            *ASKED,
            "--method",
            "undial",
            "--teacher",
            "runs/new",
            "--overwrite",
        ],
        ["evaluate", "runs/new", *ASKED, "--out", "facts.json", "--overwrite"],
        ["evaluate", "runs/new", *ASKED, "--out", "link.json", "--overwrite"],
        ["evaluate", "runs/new", "--forget", "facts.csv", "--out", "x.json", "--table", "facts.csv", "--overwrite"],
        ["verdict", "runs/base", "runs/new", *ASKED, "--retain", "facts.csv", "--out", "./facts.json", "--overwrite"],
        ["verdict", "runs/base", "runs/new", "--forget", "page.html", "--figure", "page.html", "--overwrite"],
        ["smallest", "runs/base", "runs/new", "--facts", "facts.json", "--out", "runs/../facts.json", "--overwrite"],
        ["patch", "runs/base", "runs/new", "--facts", "sweep.nc", "--out", "sweep.nc", "--overwrite"],
        ["restore", "runs/base", "runs/new", "--facts", "sweep.nc", "--out", "sweep.nc", "--overwrite"],
        ["attribute", "runs/base", "runs/new", "--facts", "sweep.nc", "--out", "sweep.nc", "--overwrite"],
        ["report", "runs/base", "runs/new", *ASKED, "--out", "x.html", "--folder", "runs"],
        ["report", "runs/base", "runs/new", "--forget", "page.html", "--out", "page.html"],
    ],
    ids=lambda line: " ".join(line[:1] + line[-3:]),
)
def test_no_input_is_replaced(here, line, capsys):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert "would be lost" in said or "choose a place beside it" in said, said
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--table", "--figure"])
def test_tables_and_figures_are_replaced_only_if_asked(here, option, capsys):
    taken = {"--table": "facts.csv", "--figure": "page.html"}[option]
    assert cli.main(["evaluate", "runs/new", *ASKED, "--out", "new.json", option, taken]) == 2
    assert f"{option} {taken} exists: choose another name or add --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("measure", [evaluate, verdict])
def test_python_says_the_same(here, measure):
    with pytest.raises(DissectError, match="would be lost"):
        measure({"new": "runs/new"}, base="runs/base", forget="link.json", out="facts.json", overwrite=True)


def test_a_word_is_no_input_where_a_file_has_its_name(here, capsys):
    """``--method npo --out npo`` a second time: the directory is there, and the method is still a word."""
    (here / "npo").mkdir()
    cli.main(["unlearn", "none", *ASKED, "--method", "npo", "--out", "npo"])
    assert "would be lost" not in capsys.readouterr().err
