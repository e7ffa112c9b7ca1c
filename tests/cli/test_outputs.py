"""No command replaces what it reads; nothing is loaded to find that out."""

import inspect
import json

import pytest

import dissect
from dissect import cli, evaluate, verdict
from dissect.cli import app
from dissect.cli.arguments.flatten import INPUTS, OUTPUTS
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


def test_every_path_of_every_command_is_known_as_read_or_written():
    """A new option that names files has to be listed, or nothing would look after them."""
    for command in app.registered_commands:
        for name, parameter in inspect.signature(command.callback).parameters.items():
            option = next(each for each in getattr(parameter.annotation, "__metadata__", ()) if hasattr(each, "help"))
            names_files = "Path" in str(parameter.annotation) or option.metavar in PATHS
            assert names_files == (name in (*INPUTS, *OUTPUTS)) or command.callback.__name__ == "plan", (command, name)


PATHS = ("FILE", "DIR", "MODEL", "BASE", "UNLEARNED", "CONFIG", "FILE.yaml", "SWEEP.nc", "METRICS.json", "FIGURE")


@pytest.mark.parametrize("word", ["ga", "npo"])
def test_a_word_is_no_file_of_that_name(here, word, capsys):
    """``--method npo --out npo``: a second call finds the directory and goes on to what else is wrong."""
    (here / word).mkdir()
    assert cli.main(["unlearn", "nothing/there", "--out", word, *ASKED, "--method", word]) == 2
    assert "read as" not in capsys.readouterr().err


@pytest.mark.parametrize("sweep", [dissect.patch, dissect.attribute])
def test_sweeps_refuse_the_files_of_their_pair(sweep, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    config = pair.unlearned.checkpoint.path / "config.json"
    before = config.read_bytes()
    with pytest.raises(DissectError, match="would be lost"):
        sweep(pair, facts.prompts(pair.tokenizer), ["attn_out"], out=config, overwrite=True, progress=False)
    assert config.read_bytes() == before


def test_a_report_and_a_verdict_refuse_what_they_read(tiny_pair, facts, tmp_path):
    base, unlearned = tiny_pair("llama")
    pair = dissect.load_pair(base, unlearned, progress=False)
    with pytest.raises(DissectError, match=r"folder .* choose"):
        dissect.report(pair, forget=facts, out=tmp_path / "page.html", folder=base.parent, progress=False)
    with pytest.raises(DissectError, match="would be lost"):
        dissect.verdict(pair, forget=facts, out=base / "config.json", overwrite=True)


def test_requests_refuse_to_replace_the_model_that_they_begin_with(facts, tmp_path):
    (tmp_path / "2").mkdir()
    with pytest.raises(DissectError, match=r"out, 2 .* would be lost"):
        dissect.unlearn_requests(tmp_path / "2", [facts, facts], out=tmp_path, method="ga")
