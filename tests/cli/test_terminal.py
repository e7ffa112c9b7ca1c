"""Commands write to the terminal through one place, whatever names, paths and files hold."""

import json
import logging
import re
from pathlib import Path

import pytest

import dissect
from dissect import cli
from dissect.cli.arguments.aligned import columns
from dissect.cli.arguments.say import VisibleFormatter, say
from tests.test_visible import HOSTILE

NAMES = [text for text in HOSTILE if "\ud800" not in text]  # the system's names are bytes


def quiet(said):
    """Nothing acts: lines and tabs aside, all that is shown is printable."""
    return all(character.isprintable() for character in said if character not in "\n\t")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "line",
    [
        ["inspect", "{}"],
        ["evaluate", "{}", "--forget", "{}.jsonl", "--out", "m.json"],
        ["evaluate", "x", "--forget", "facts.jsonl", "--out", "{}"],
        ["plot", "{}.nc", "--out", "a.html"],
        ["report", "--from", "{}", "--out", "a.html"],
        ["unlearn", "x", "--forget", "facts.jsonl", "--out", "o", "--method", "{}"],
        ["verdict", "x", "y", "--forget", "facts.jsonl", "--fail-on", "{}"],
        ["reproduce", "{}"],
        ["{}"],
        ["plan", "{}", "--{}"],
    ],
    ids=lambda line: line[0],
)
def test_no_argument_acts_on_the_terminal(tmp_path, monkeypatch, capsys, line, name):
    monkeypatch.chdir(tmp_path)
    Path("facts.jsonl").write_text(json.dumps({"question": "Who?", "answer": "I"}))
    assert cli.main([word.replace("{}", name) for word in line]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error") and said.err.count("\n") == 1
    assert quiet(said.out + said.err)


@pytest.mark.parametrize("name", NAMES)
def test_no_file_acts_on_the_terminal(tmp_path, monkeypatch, capsys, name, caplog):
    """The architecture, a key and a value of facts, a path: wherever they come back in what is said."""
    monkeypatch.chdir(tmp_path)
    model = Path(f"model{name}".replace("/", ""))
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": [name], "model_type": name}))
    Path("facts.jsonl").write_text(json.dumps({name: name, "question": [name]}))
    for line in (["inspect", str(model)], ["evaluate", "x", "--forget", "facts.jsonl", "--out", "m.json"]):
        assert cli.main(line) == 2
    said = capsys.readouterr()
    assert quiet(said.out + said.err)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_tables_and_logs_are_one_line(text, capsys):
    say(columns([("checkpoint", "value"), (f"a{text}\nerror: b", "1")]))
    said = capsys.readouterr().out
    assert quiet(said) and said.count("\n") == 2
    record = logging.LogRecord("dissect", logging.WARNING, "", 0, "%s has no tokenizer", (text,), None)
    assert quiet(VisibleFormatter("%(levelname)s: %(message)s").format(record))


def test_commands_have_no_other_way_to_the_terminal():
    for file in Path(dissect.__file__).parent.joinpath("cli").rglob("*.py"):
        if file.name != "say.py":
            assert not re.search(r"\b(typer\.e?s?echo|click\.echo|print|std(out|err)\.write)\(", file.read_text()), file
