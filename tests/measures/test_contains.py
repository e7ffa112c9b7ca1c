"""The short answer in a reply, at word boundaries, case and accents folded."""

import math
from pathlib import Path

import pytest

import dissect
from dissect.autopsy import evidence
from dissect.data.facts import Fact, Facts
from dissect.errors import Undefined
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import ScoredRow
from dissect.measures import measure
from dissect.measures.behaviour import contains
from dissect.measures.behaviour.contains import stands_in
from dissect.measures.examined import Examined
from dissect.reading.answers import Answer
from tests.support.tiny import make_checkpoint


@pytest.mark.parametrize(
    ("short", "reply", "stands"),
    [
        ("Paris", "The capital of France is Paris.", True),
        ("paris", "PARIS!", True),
        ("Rome", "Romeo and Juliet", False),
        ("art", "It is a cart.", False),
        ("São Paulo", "It is SAO  PAULO\n(Brazil).", True),
        ("Sao Paulo", "São Paulo", True),
        ("Straße", "die STRASSE", True),
        ("7", "In 1917.", False),
        ("7", "They were 7, all told.", True),
        ("Addis Ababa", "Addis\nAbaba", True),
        ("Addis Ababa", "Addis and Ababa", False),
        ("U.S.", "the U.S.A. and others", True),  # it ends in punctuation: nothing bounds it there
        ("C++", "It is written in C++.", True),
        ("snake_case", "my_snake_case", False),
        ("東京", "首都は東京です。", True),  # no spaces between words
        ("กรุงเทพ", "เมืองหลวงคือกรุงเทพมหานคร", True),
        ("fi", "the ﬁ ligature", True),
        ("Paris", "", False),
    ],
)
def test_where_a_short_answer_stands(short: str, reply: str, stands: bool):
    assert stands_in(short, reply) is stands


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return dissect.load(make_checkpoint("llama", tmp_path_factory.mktemp("contains") / "m"), progress=False)


def examined(model, *said: str, **keys) -> Examined:
    facts = Facts(
        Fact(question=f"{i}?", answer="x", extra={"short": keys["short"][i]} if keys["short"][i] else {})
        for i in range(len(said))
    )
    made = Examined(model, {"forget": facts}, name="m")
    vars(made)["answers"] = [Answer("", "x", reply) for reply in said]
    return made


def test_share_over_the_facts_that_have_one(model):
    found = contains.contains(
        examined(model, "It is Paris.", "Rome", "?", "Bonn", short=["Paris", ["London", "Rome"], None, "Berlin"])
    )
    assert found.value == pytest.approx(2 / 3) and found.n == 3
    assert found.items[:2].tolist() == [1, 1] and math.isnan(found.items[2]) and found.items[3] == 0


def test_refusals(model):
    with pytest.raises(Undefined, match="no fact has a short answer"):
        contains.contains(examined(model, "a", short=[None]))
    with pytest.raises(Undefined, match=r"'short' of '0.' must be text"):
        contains.contains(examined(model, "a", short=[7]))


def test_it_is_a_measure_and_what_the_report_reads_where_all_facts_have_one():
    assert measure.get("contains").family == "behaviour"

    def evaluation(n_short: int) -> Evaluation:
        rows = [
            ScoredRow("base", "exact_match", "forget", 0.9, 0.8, 1.0, 4, "facts"),
            ScoredRow("base", "contains", "forget", 0.7, 0.6, 0.8, n_short, "facts"),
        ]
        spec = {"sets": {"forget": {"n": 4}}}
        return Evaluation(models=[], rows=rows, refused=[], answers=[], measures={}, spec=spec)

    assert evidence._answered(evaluation(4)) == "contains"
    assert evidence._answered(evaluation(3)) == "exact_match"


def test_readers_take_lists_of_short_answers(tmp_path: Path):
    (tmp_path / "a.csv").write_text("question,answer,short\nWhere?,In Rome.,\"['Rome', 'Roma']\"\n")
    assert Facts.read(tmp_path / "a.csv")[0].extra["short"] == ["Rome", "Roma"]
