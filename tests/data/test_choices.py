"""Multiple-choice files: published forms that are read, wrong ones that are refused with file and line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dissect.data.facts import Facts
from dissect.data.readers.choices import choices_of
from dissect.errors import DissectError

ROW = {"question": "Where is Paris?", "choices": ["Peru", "France", "Chad"], "answer": 1}


def written(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
@pytest.mark.parametrize(
    "row",
    [
        ROW,
        ROW | {"answer": "B"},
        ROW | {"answer": "France"},
        {"question": ROW["question"], "options": ROW["choices"], "answer_index": 1},
        {"question": ROW["question"], "A": "Peru", "B": "France", "C": "Chad", "answer": "B"},
    ],
)
def test_published_forms_are_one(tmp_path: Path, name: str, row: dict):
    (fact,) = Facts.from_choices(written(tmp_path / name, [row]), topic="geography")
    assert choices_of(fact) == ROW["choices"]
    assert (fact.answer, fact.extra["answer_index"], fact.extra["topic"]) == ("France", 1, "geography")


def test_a_field_of_knowledge_is_nobodys_name(tmp_path: Path):
    (fact,) = Facts.from_choices(written(tmp_path / "a.jsonl", [ROW | {"subject": "world_history"}]))
    assert fact.extra["topic"] == "world history" and "subject" not in fact.extra


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("a.jsonl", {"question": "Who?", "answer": 1}, ["line 2", "'choices'"]),
        ("a.jsonl", {"question": "Who?", "answer": "B"}, ["line 2", "at least two 'choices'", "none"]),
        ("a.jsonl", ROW | {"choices": []}, ["line 2", "'choices'"]),
        ("a.jsonl", ROW | {"choices": ["Peru"], "answer": 0}, ["line 2", "at least two"]),
        ("a.jsonl", ROW | {"choices": ["Peru", 3], "answer": 0}, ["line 2", "list of texts"]),
        ("a.jsonl", ROW | {"answer": 3}, ["line 2", "3 choices", "0 to 2"]),
        ("a.jsonl", ROW | {"answer": -1}, ["line 2", "3 choices"]),
        ("a.jsonl", ROW | {"answer": "D"}, ["line 2", "'D'", "A to C"]),
        ("a.jsonl", {"question": "Who?", "choices": ["x", "y"]}, ["line 2", "no answer"]),
        ("a.jsonl", {"text": "Paris"}, ["line 2", "needs a 'question'"]),
        ("a.json", ROW | {"answer": 3}, ["item 2", "0 to 2"]),
        ("a.json", ROW | {"answer": "E"}, ["item 2", "A to C"]),
        ("a.parquet", ROW | {"answer": 3}, ["row 2", "0 to 2"]),
    ],
)
def test_wrong_files_are_refused_with_file_and_line(tmp_path: Path, name: str, row: dict, expected: list[str]):
    path = written(tmp_path / name, [ROW, row])
    with pytest.raises(DissectError) as error:
        Facts.from_choices(path)
    for part in [name, *expected]:
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_an_empty_set_is_refused(tmp_path: Path, name: str):
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), path)
    else:
        path.write_text("[]" if name == "a.json" else "")
    with pytest.raises(DissectError, match="holds no facts"):
        Facts.from_choices(path)
