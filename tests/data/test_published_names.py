"""Facts under the names that published data give them, in every form in which they are published."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from dissect.data.cell_values import listed_cell
from dissect.data.facts import Fact, Facts
from dissect.data.published_names import known_names
from dissect.errors import DissectError
from tests.support.tiny import make_tokenizer

TOFU = {
    "question": "Who wrote it?",
    "answer": "Basil",
    "paraphrased_question": "By whom is it?",
    "paraphrased_answer": "It is by Basil",
    "perturbed_answer": ["Ada", "Clara, that is"],
}
RWKU = {"query": "Who is ___?", "answer": "Ada", "level": "1"}
MUSE = {"prompt": "He was the boy", "gt": "who lived"}
WMDP = {"question": "Which?", "choices": ["a", "b", "it's c", "d"], "answer": 2}
DOLLY = {"instruction": "Say it.", "response": "It."}
EXPECTED = {
    "tofu": Fact(
        question="Who wrote it?",
        answer="Basil",
        extra={k: TOFU[k] for k in ("paraphrased_question", "paraphrased_answer", "perturbed_answer")}
        | {"paraphrases": ["By whom is it?"], "perturbed": TOFU["perturbed_answer"]},
    ),
    "rwku": Fact(question="Who is ___?", answer="Ada", extra={"level": "1"}),
    "muse": Fact(prompt="He was the boy", completion=" who lived"),
    "wmdp": Fact(
        question="Which?",
        answer="it's c",
        extra={"choices": WMDP["choices"], "answer_index": 2, "perturbed": ["a", "b", "d"]},
    ),
    "dolly": Fact(question="Say it.", answer="It."),
}
ROWS = {"tofu": TOFU, "rwku": RWKU, "muse": MUSE, "wmdp": WMDP, "dolly": DOLLY}


def jsonl(row: dict, path: Path) -> Path:
    path.with_suffix(".jsonl").write_text(json.dumps(row) + "\n")
    return path.with_suffix(".jsonl")


def columns(row: dict, path: Path) -> Path:
    path.with_suffix(".json").write_text(json.dumps({key: [value] for key, value in row.items()}))
    return path.with_suffix(".json")


def pandas_columns(row: dict, path: Path) -> Path:
    pd.DataFrame([row]).to_json(path.with_suffix(".json"))
    return path.with_suffix(".json")


def split_columns(row: dict, path: Path) -> Path:
    pd.DataFrame([row]).to_json(path.with_suffix(".json"), orient="split")
    return path.with_suffix(".json")


def wrapped(row: dict, path: Path) -> Path:
    path.with_suffix(".json").write_text(json.dumps({"version": 1, "data": [row]}))
    return path.with_suffix(".json")


def table(row: dict, path: Path) -> Path:
    pd.DataFrame([row]).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def spaced_table(row: dict, path: Path) -> Path:
    with path.with_suffix(".tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow([f" {key} " for key in row])
        writer.writerow([json.dumps(v) if isinstance(v, list) else v for v in row.values()])
    return path.with_suffix(".tsv")


def numpy_table(row: dict, path: Path) -> Path:
    arrays = {key: np.array(value) if isinstance(value, list) else value for key, value in row.items()}
    pd.DataFrame([arrays]).to_csv(path.with_suffix(".csv"), index=False)  # lists as NumPy prints them, without commas
    return path.with_suffix(".csv")


def parquet(row: dict, path: Path) -> Path:
    pd.DataFrame([row]).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def saved(row: dict, path: Path) -> Path:
    datasets.Dataset.from_list([row]).save_to_disk(path)
    return path


@pytest.mark.parametrize(
    "write", [jsonl, columns, pandas_columns, split_columns, wrapped, table, spaced_table, numpy_table, parquet, saved]
)
@pytest.mark.parametrize("name", ROWS)
def test_every_reader_knows_the_published_names(tmp_path: Path, name: str, write: Callable[[dict, Path], Path]):
    assert Facts.read(write(ROWS[name], tmp_path / name)) == Facts([EXPECTED[name]])
    assert Facts.from_dataset([ROWS[name]]) == Facts([EXPECTED[name]])


@pytest.mark.parametrize(
    ("answer", "place"),
    [(0, 0), (2.0, 2), ("1", 1), ("C", 2), ("d", 3), (" B ", 1), ("it's c", 2), (np.int64(3), 3)],
)
def test_the_right_choice_by_number_letter_or_text(answer: Any, place: int):
    row = known_names({**WMDP, "answer": int(answer) if isinstance(answer, np.int64) else answer})
    assert row["answer"] == WMDP["choices"][place] and row["answer_index"] == place
    assert known_names(row) == row  # once is enough


def test_choices_with_names_of_their_own_and_the_right_one_elsewhere():
    arc = {"question": "?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
    assert Facts.from_dataset([arc])[0].answer == "y"
    free = {"question": "?", "choices": ["x", "y"], "answer": "neither"}
    assert Facts.from_dataset([free])[0].answer == "neither"
    for wrong in (4, -1, 1.5):
        with pytest.raises(DissectError, match=r"row 1: 'answer' is .* and names none of the 4 choices"):
            Facts.from_dataset([{**WMDP, "answer": wrong}])
    with pytest.raises(DissectError, match="'choices' must be a list of texts"):
        Facts.from_dataset([{**WMDP, "choices": "a or b"}])


def test_a_name_that_is_there_is_never_replaced():
    row = {
        "question": "q",
        "query": "other",
        "answer": "a",
        "response": "r",
        "perturbed": ["x"],
        "perturbed_answer": ["y"],
    }
    extra = {"query": "other", "response": "r", "perturbed": ["x"], "perturbed_answer": ["y"]}
    assert Facts.from_dataset([row]) == Facts([Fact(question="q", answer="a", extra=extra)])
    text = {"text": "t", "query": "q", "output": "o"}
    assert Facts.from_dataset([text])[0] == Fact(text="t", extra={"query": "q", "output": "o"})
    joined = Facts.from_dataset([{"prompt": "p ", "gt": "x"}, {"prompt": "p", "gt": "\nx"}])
    assert [fact.completion for fact in joined] == ["x", "\nx"]
    assert Facts.from_dataset([{"Question": "q", "Answer ": "a"}])[0] == Fact(question="q", answer="a")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', \"it's\"]", ["a", "it's"]),
        ("['a' 'b'\n 'c, d']", ["a", "b", "c, d"]),
        ("[]", []),
        ("[unclear]", "[unclear]"),
        ("['a', b]", "['a', b]"),
        ("['a", "['a"),
        ("plain", "plain"),
        ("['a'] and ['b']", "['a'] and ['b']"),
    ],
)
def test_lists_in_cells(cell: str, value: Any):
    assert listed_cell(cell) == value


def test_long_cells_are_read_and_the_limit_is_as_it_was(tmp_path: Path):
    before = csv.field_size_limit()
    text = "a long way " * 30_000
    pd.DataFrame([{"text": text}]).to_csv(tmp_path / "a.csv", index=False)
    assert Facts.read(tmp_path / "a.csv")[0].text == text
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", {"question": ["x", "y"], "answer": ["z"]}, "column 'answer' has 1 entries, 'question' has 2"),
        ("a.json", {"question": {"0": "x"}, "answer": ["z"]}, "are written in different ways"),
        ("a.json", {"question": ["x"], "answer": "y"}, "'question' must be text, got list"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, name: str, content: dict, expected: str):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(DissectError, match=expected):
        Facts.read(tmp_path / name)


@pytest.mark.parametrize("header", ["query,gt", "Question,Answer", "question,response", "prompt,gt"])
def test_an_empty_answer_in_a_table_is_refused_under_every_name(tmp_path: Path, header: str):
    (tmp_path / "a.csv").write_text(f"{header}\nx,y\nx,\n")
    with pytest.raises(DissectError, match=r"line 3: '(answer|completion)' is empty"):
        Facts.read(tmp_path / "a.csv")


def test_a_fact_without_an_answer_is_named_by_file_line_and_keys(tmp_path: Path):
    path = tmp_path / "facts.jsonl"
    path.write_text('{"question": "a?", "answer": "b"}\n\n{"question": "c?", "reply": "d", "id": 7}\n')
    with pytest.raises(DissectError) as caught:
        Facts.read(path).prompts(make_tokenizer(bos=True))
    message = str(caught.value)
    assert "it has no answer (keys: 'question', 'reply', 'id'; " in message and f"{path}, line 3" in message
    assert Facts.read(path)[0] == Fact(question="a?", answer="b")  # where it stands is no part of what it says


@pytest.mark.parametrize(
    "fact", [{"text": "ab\ud800c"}, {"question": "\udc00?", "answer": "x"}, {"prompt": "x", "completion": "\udfff"}]
)
def test_a_lone_surrogate_is_one_clear_line(tmp_path: Path, fact: dict):
    (tmp_path / "a.jsonl").write_text(json.dumps(fact))
    facts = Facts.read(tmp_path / "a.jsonl")
    with pytest.raises(DissectError, match="half of a surrogate pair and no character") as caught:
        facts.prompts(make_tokenizer(bos=True))
    str(caught.value).encode()  # which can be shown
    with pytest.raises(DissectError, match="fact 0 holds what is no character"):
        facts.write(tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()


class Panic(BaseException):
    """As pyo3 has it: no Exception."""


@pytest.mark.parametrize("error", [Panic("index out of bounds"), ValueError("bad"), OverflowError()])
def test_whatever_else_a_tokenizer_raises_on_is_one_clear_line(error: BaseException):
    def fail(*args: Any, **options: Any) -> None:
        raise error

    broken = type("Broken", (), {"is_fast": True, "__call__": fail})()
    with pytest.raises(DissectError, match=r"fact 0 .* the tokenizer refuses the text"):
        Facts([Fact(text="x")]).prompts(broken)
    stopped = type(
        "Stopped", (), {"is_fast": True, "__call__": lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)}
    )()
    with pytest.raises(KeyboardInterrupt):
        Facts([Fact(text="x")]).prompts(stopped)
