"""A terminal obeys nothing that files or paths hold."""

import logging
import unicodedata

import pytest

from dissect import cli
from dissect.cli.arguments.say import VisibleFormatter
from dissect.visible import visible

HOSTILE = {
    "clears the screen": "\x1b[2J",
    "sets the title": "\x1b]0;owned\x07",
    "eight-bit": "\x9b31m",
    "goes back": "\rfine",
    "reads from the right": "\u202egnp.exe",
    "isolated": "\u2066x\u2069",
    "rings": "\x07\x08\x7f",
    "half of a character": "\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_is_obeyed_and_nothing_is_lost(text):
    shown = visible(f"before {text} after")
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs"}
    assert shown.startswith("before ") and shown.endswith(" after")
    assert shown.encode("ascii").decode("unicode_escape") == f"before {text} after"
    record = logging.LogRecord("dissect", logging.WARNING, "", 0, "%s", (text,), None)
    assert VisibleFormatter("%(message)s").format(record) == visible(text)


@pytest.mark.parametrize("text", ["café 東京 עברית 🙂", "two\nlines\tand a tab", ""])
def test_ordinary_text_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if "\ud800" not in text])
def test_names_in_errors(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = text.replace("/", "") + ".jsonl"
    for line in (
        ["evaluate", "none", "--forget", name, "--out", "out.json"],
        ["plot", name, "--out", "out.html"],
        ["inspect", name],
        ["unlearn", "none", "--forget", "facts.jsonl", "--method", name, "--out", "out"],
    ):
        assert cli.main(line) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert not {unicodedata.category(character) for character in said.rstrip("\n")} & {"Cc", "Cf", "Cs"}, line
