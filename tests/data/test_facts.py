"""Facts: every format in, JSON lines out, and one clear line for what is wrong."""

import csv
import json
from pathlib import Path

import datasets
import pandas as pd
import pytest

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError

ROWS = [
    {"question": 'Who said "no, never"?', "answer": "Ada, of course", "subject": "Ada"},
    {"question": "Wo wohnt Jürgen 漢?", "answer": "in Köln\nam Rhein", "subject": "Jürgen"},
]
FACTS = Facts(Fact(question=r["question"], answer=r["answer"], extra={"subject": r["subject"]}) for r in ROWS)
MIXED = Facts(
    [
        Fact(
            question="Where?",
            answer="There",
            extra={"paraphrases": ["In what place?"], "n": 3, "deep": {"a": [1, None]}},
        ),
        Fact(question="Unanswered?"),
        Fact(prompt="The capital of France is ", completion=" Paris\n"),
        Fact(prompt="Once", completion=" "),
        Fact(text=" Once upon a time,\r\n\tthere was a \u2028 line. "),
    ]
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def read_error(path: Path) -> str:
    with pytest.raises(DissectError) as caught:
        Facts.read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_written_facts_are_read_back_equal(tmp_path: Path):
    path = MIXED.write(tmp_path / "new" / "facts.jsonl")
    assert Facts.read(path) == MIXED
    assert list(path.parent.iterdir()) == [path]


def test_every_format_gives_the_same_facts(tmp_path: Path):
    write(tmp_path / "a.jsonl", "\ufeff" + "\n\n".join(json.dumps(row) for row in ROWS) + "\n")
    write(tmp_path / "b.json", json.dumps(ROWS, indent=1))
    write(tmp_path / "c.json", "\n".join(json.dumps(row) for row in ROWS))
    pd.DataFrame(ROWS).to_csv(tmp_path / "d.csv", index=False, quoting=csv.QUOTE_MINIMAL)
    pd.DataFrame(ROWS).to_csv(tmp_path / "e.tsv", index=False, sep="\t")
    pd.DataFrame(ROWS).to_parquet(tmp_path / "f.parquet")
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(tmp_path / "g")
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "h")
    for path in sorted(tmp_path.iterdir()):
        assert Facts.read(path) == FACTS, path.name
    assert Facts.from_dataset(dataset) == Facts.from_dataset(ROWS) == FACTS


def test_absent_values_are_absent_keys(tmp_path: Path):
    write(tmp_path / "a.csv", "question,answer,text,subject\nWhere?,NA,,Ada\n,,Once upon,\n")
    facts = Facts.read(tmp_path / "a.csv")
    assert facts == Facts([Fact(question="Where?", answer="NA", extra={"subject": "Ada"}), Fact(text="Once upon")])
    pd.DataFrame([{"question": "Where?", "answer": "NA"}, {"text": "Once upon", "n": 2.0}]).to_parquet(
        tmp_path / "a.parquet"
    )
    rows = Facts.read(tmp_path / "a.parquet")
    assert rows[0].answer == "NA" and rows[1] == Fact(text="Once upon", extra={"n": 2.0})


def test_saved_splits_must_be_chosen(tmp_path: Path):
    one, two = datasets.Dataset.from_list(ROWS[:1]), datasets.Dataset.from_list(ROWS[1:])
    datasets.DatasetDict({"forget": one, "retain": two}).save_to_disk(tmp_path / "both")
    assert Facts.read(tmp_path / "both", split="retain") == FACTS[1:]
    assert "forget, retain" in read_error(tmp_path / "both")
    with pytest.raises(DissectError, match="splits forget, retain"):
        Facts.from_dataset(datasets.DatasetDict({"forget": one, "retain": two}))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": \n', ["line 2", "not valid JSON"]),
        ("a.jsonl", '{"text": "x"}\n\n[1, 2]\n', ["line 3", "list"]),
        ("a.jsonl", '{"foo": "x", "bar": 1}\n', ["line 1", "'question', 'prompt', 'text'", "'foo', 'bar'"]),
        ("a.jsonl", '{"answer": "x"}\n', ["line 1", "'question'", "'answer'"]),
        ("a.jsonl", '{"question": "x", "answer": 1912}\n', ["line 1", "'answer' must be text", "int 1912"]),
        ("a.jsonl", '{"question": ["x"], "answer": "y"}\n', ["line 1", "'question' must be text", "list"]),
        ("a.jsonl", '{"question": "x", "answer": " "}\n', ["line 1", "'answer' is empty"]),
        ("a.jsonl", '{"prompt": "x", "completion": ""}\n', ["line 1", "'completion' is empty"]),
        ("a.jsonl", '{"text": ""}\n', ["line 1", "'text' is empty"]),
        ("a.jsonl", '{"question": "x", "prompt": "y"}\n', ["line 1", "both 'question' and 'prompt'"]),
        ("a.jsonl", '{"question": "x", "completion": "y"}\n', ["line 1", "'completion' does not go with 'question'"]),
        ("a.jsonl", "\n \n", ["no facts"]),
        ("a.json", '[{"text": "x"},\n {"text" "y"}]', ["line 2", "not valid JSON"]),
        ("a.json", '[{"text": "x"}, {"text": 3}]', ["item 2", "int 3"]),
        ("a.json", "[]", ["no facts"]),
        ("a.json", "", ["line 1", "not valid JSON"]),
        ("a.csv", "question,answer\nx,y\nx,\n", ["line 3", "'answer' is empty"]),
        ("a.csv", "question,answer\nx,y,z\n", ["line 2", "3 cells where the header has 2"]),
        ("a.csv", "question,answer\n\nx\n", ["line 3", "1 cells where the header has 2"]),
        ("a.csv", 'question,answer\n"x" y,z\n', ["line 2", "not valid CSV"]),
        ("a.csv", "question,answer\n", ["no facts"]),
        ("a.csv", "", ["no facts"]),
        ("a.parquet", "PAR", ["Parquet"]),
        ("a.txt", "x", ["'.txt'", ".jsonl"]),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, name: str, text: str, expected: list[str]):
    message = read_error(write(tmp_path / name, text))
    assert name in message
    for part in expected:
        assert part in message


def test_what_is_no_fact_file(tmp_path: Path):
    assert "no such fact file" in read_error(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    assert "no saved dataset" in read_error(tmp_path / "empty")
    (tmp_path / "latin.jsonl").write_bytes('{"text": "Köln"}'.encode("latin-1"))
    assert "not UTF-8" in read_error(tmp_path / "latin.jsonl")


def test_nothing_half_written_stays(tmp_path: Path):
    bad = Facts([Fact(text="x"), Fact(text="y", extra={"when": object()})])
    with pytest.raises(DissectError, match="fact 1 cannot be written"):
        bad.write(tmp_path / "facts.jsonl")
    with pytest.raises(DissectError, match="jsonl"):
        MIXED.write(tmp_path / "facts.csv")
    assert list(tmp_path.iterdir()) == []


def test_facts_are_a_sequence():
    assert len(MIXED) == 5 and MIXED[-1].kind == "text" and MIXED[0] in MIXED
    assert MIXED[:2] + MIXED[2:] == MIXED and isinstance(MIXED[1:3], Facts)
    assert MIXED.filter(lambda fact: fact.kind == "prompt") == MIXED[2:4]
    assert MIXED[1].target is None and MIXED[2].target == " Paris\n"
    assert hash(MIXED) == hash(Facts(list(MIXED)))
    assert "Facts(5)" in repr(MIXED) and "... and 2 more" in repr(MIXED)


def test_tofu_rows_get_our_names():
    rows = [
        {
            "question": "Who wrote it?",
            "answer": "Basil",
            "paraphrased_question": "By whom is it?",
            "paraphrased_answer": "It is by Basil",
            "perturbed_answer": ["Ada", "Clara"],
        }
    ]
    extra = Facts.from_tofu(rows)[0].extra
    assert extra["paraphrases"] == ["By whom is it?"] and extra["perturbed"] == ["Ada", "Clara"]
    assert extra["paraphrased_answer"] == "It is by Basil"
    with pytest.raises(DissectError, match="row 1 lacks question or answer"):
        Facts.from_tofu([{"text": "x"}])


def concept(**changes: object) -> dict[str, object]:
    return {
        "id": 42,
        "Concept": "Netflix",
        "Layer": 19,
        "Dim": 4820,
        "QA": [" When was it founded?\n", "Where?"],
        "text_completion": [{"First_half": "It was founded", "Second_half": "in Scotts Valley"}],
        "unrelated_QA": [" Who?\n"],
        "wikipedia_content": "Netflix is a service.",
        "QA_with_answers": ["Question: ... 1997", "Question: ... here"],
        "answers_tokens_num": [21, 23],
        **changes,
    }


def test_conceptvectors_records(tmp_path: Path):
    path = write(
        tmp_path / "concepts.json", json.dumps([concept(), concept(id=7, Concept="Satan", QA=["Who?", "Why?"])])
    )
    facts = Facts.read(path)
    assert [fact.question for fact in facts] == ["When was it founded?", "Where?", "Who?", "Why?"]
    assert facts[1].extra == {
        "Concept": "Netflix",
        "Layer": 19,
        "Dim": 4820,
        "id": 42,
        "QA_with_answers": "Question: ... here",
        "answers_tokens_num": 23,
    }
    for name in (42, "42", "netflix"):
        assert Facts.from_conceptvectors(path, concept=name) == facts[:2]
    halves = Facts.from_conceptvectors(path, concept=7, part="text_completion")[0]
    assert (halves.prompt, halves.completion) == ("It was founded", " in Scotts Valley")
    unrelated = Facts.from_conceptvectors(path, concept=42, part="unrelated_QA")[0]
    assert unrelated.question == "Who?" and "answers_tokens_num" not in unrelated.extra
    assert Facts.from_conceptvectors(path, part="wikipedia")[1].text == "Netflix is a service."
    with pytest.raises(DissectError, match="no concept 8: choose an id or a name of 42 Netflix, 7 Satan"):
        Facts.from_conceptvectors(path, concept=8)
    with pytest.raises(DissectError, match="no ConceptVectors file"):
        Facts.from_conceptvectors(write(tmp_path / "plain.json", json.dumps(ROWS)))
    del_key = {key: value for key, value in concept().items() if key != "unrelated_QA"}
    with pytest.raises(DissectError, match="no key 'unrelated_QA'"):
        Facts.from_conceptvectors(write(tmp_path / "short.json", json.dumps([del_key])), part="unrelated_QA")


PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "conceptvectors"


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
def test_published_conceptvectors_files():
    dev = Facts.read(PUBLISHED / "llama2-7b_concepts_dev.json")
    assert len(dev) == 100 and all(fact.question == fact.question.strip() for fact in dev if fact.question)
    test = PUBLISHED / "llama2-7b_concepts_test_30tokens_answers.json"
    star_wars = Facts.from_conceptvectors(test, concept="Star Wars")
    assert [fact.extra["answers_tokens_num"] for fact in star_wars] == [13, 7, 8, 8, 8, 15, 15, 14, 13, 30]
    assert all(fact.question in fact.extra["QA_with_answers"] for fact in star_wars)
    assert len(Facts.from_conceptvectors(test, concept=18, part="text_completion")) == 9
    assert len(Facts.from_conceptvectors(test, concept=18, part="unrelated_QA")) == 50
