"""Neighbours of the published spellings of fact files: read as they are meant, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from dissect.data.cell_values import listed_cell
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError

EXPECTED = Fact(question="Which?", answer="y", extra={"choices": ["x", "y"], "answer_index": 1, "perturbed": ["x"]})


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Which?", "choices": ["x", "y"], "answer": "B"},
        {"Query": "Which?", "Choices": ["x", "y"], "Answer": 1},
        {"QUESTION": "Which?", "Options": ["x", "y"], "answer": "b"},
        {"question": "Which?", "options": '["x", "y"]', "answer": "y"},
        {"question": "Which?", "A": "x", "B": "y", "answer": "B"},
        {"question": "Which?", "choices": ["x", "y"], "AnswerKey": "B"},
        {"question": "Which?", "choices": ["x", "y"], "Label": 1},
    ],
)
def test_choices_however_they_are_called(row: dict[str, Any]):
    (fact,) = Facts.from_dataset([row])
    letters = {name: fact.extra.get(name) for name in "AB" if name in fact.extra}
    rest = {key: value for key, value in fact.extra.items() if key not in (*letters, "answerKey", "label")}
    assert (fact.question, fact.answer, rest) == (EXPECTED.question, EXPECTED.answer, EXPECTED.extra)


def test_choices_by_their_letters():
    (fact,) = Facts.from_dataset([{"question": "Which?", "options": {"A": "x", "B": "y"}, "answer": "B"}])
    assert fact.answer == "y" and fact.extra["perturbed"] == ["x"]


def test_names_in_any_case_hide_no_other():
    (fact,) = Facts.from_dataset([{"query": "a?", "Query": "b?", "GT": "c"}])
    assert fact == Fact(question="a?", answer="c", extra={"Query": "b?"})


@pytest.mark.parametrize(
    "text",
    [
        "question,answer\na?,b\n",
        '"question", "answer"\n"a?", "b"\n',
        '"question",  "answer"\r\n"a?",  "b"\r\n',
        "\ufeffquestion,answer\na?,b\n",
        " Question ,ANSWER\na?,b\n",
    ],
)
def test_headers_of_tables(text: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert Facts.read(tmp_path / "a.csv") == Facts([Fact(question="a?", answer="b")])


def test_the_spaces_of_cells_are_theirs(tmp_path: Path):
    (tmp_path / "a.csv").write_text("prompt,completion\nAda was born in, London\n")
    assert Facts.read(tmp_path / "a.csv")[0].completion == " London"


@pytest.mark.parametrize("header", ["question,answer,answer", "question,answer, answer", "text,text"])
def test_two_columns_of_one_name_are_refused(header: str, tmp_path: Path):
    (tmp_path / "a.csv").write_text(f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    with pytest.raises(DissectError, match="line 1: two columns are called"):
        Facts.read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize(
    "content",
    [
        {"question": ["a?", "c?"], "answer": ["b", "d"]},
        {"question": {"0": "a?", "1": "c?"}, "answer": {"0": "b", "1": "d"}},
        [{"question": "a?", "answer": "b"}, {"question": "c?", "answer": "d"}],
        {"version": 1, "data": [{"question": "a?", "answer": "b"}, {"question": "c?", "answer": "d"}]},
    ],
)
def test_one_value_alone_is_read_alike_under_every_suffix(name: str, content: Any, tmp_path: Path):
    (tmp_path / name).write_text(json.dumps(content))
    assert Facts.read(tmp_path / name) == Facts([Fact(question="a?", answer="b"), Fact(question="c?", answer="d")])


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_brackets_without_end_are_one_line(name: str, tmp_path: Path):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(DissectError, match=r"nested too deeply|not valid JSON") as caught:
        Facts.read(tmp_path / name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    deep = "[" * 100_000 + "]" * 100_000
    assert listed_cell(deep) == deep


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_other_encodings_are_named(name: str, encoding: str, tmp_path: Path):
    rows = "question,answer\nOù?,à\n" if name == "a.csv" else json.dumps({"text": "Où"}, ensure_ascii=False)
    (tmp_path / name).write_text(rows, encoding=encoding)
    with pytest.raises(DissectError, match="is not UTF-8 text"):
        Facts.read(tmp_path / name)
