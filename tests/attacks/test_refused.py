"""Attacks that cannot be made say so in one sentence, and no other error leaves them."""

import pytest

import dissect
from dissect.attacks.attack import NotPossible
from dissect.data.facts import Fact, Facts
from tests.attacks.bench import ATTACKS, facts, few, target

TEXTS = Facts(Fact(text=f"Text {number}.") for number in range(30))
BARE = Facts(
    Fact(question=each.question, answer=each.answer, extra={"subject": each.extra["subject"], "group": "x"})
    for each in facts()
)
LEARNING = [name for name in ATTACKS if name.startswith(("linear", "tuned", "direction", "kept", "continued"))] + [
    "relearn_others_with_kept"
]


@pytest.fixture(scope="module")
def model(tiny_pair):
    return dissect.load(tiny_pair("llama")[0], progress=False)


def refusal(name: str, made, **more) -> str:
    with pytest.raises(NotPossible) as error:
        ATTACKS[name].run(made, **few(ATTACKS[name], **more))
    said = str(error.value)
    plain = said.replace("retain=...", "retain")
    assert plain and "\n" not in plain and ". " not in plain and not plain.endswith(".")
    return said


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("retain", [Facts(), facts(1, 12)], ids=["none", "one"])
def test_too_few_retain_facts(model, name, retain):
    assert "pass retain=..." in refusal(name, target(model, retain=retain))


@pytest.mark.parametrize("name", [name for name in LEARNING if name.startswith(("linear", "direction", "kept"))])
def test_texts_are_no_questions(model, name):
    assert "with a question and an answer" in refusal(name, target(model, retain=TEXTS))


@pytest.mark.parametrize("name", ["relearn_others", "relearn_others_with_kept", "linear_readout_others"])
def test_one_fold(model, name):
    assert "too few subjects" in refusal(name, target(model, n_folds=1))


@pytest.mark.parametrize("name", ["other_wordings", "held_out_wordings"])
def test_no_other_wordings(model, name):
    assert "no fact has" in refusal(name, target(model, BARE))


@pytest.mark.parametrize("name", ["other_wordings", "held_out_wordings"])
def test_statements_that_are_all_worded_differently(model, name):
    forget = Facts(
        Fact(
            question=each.question,
            answer=each.answer,
            extra={
                "subject": each.extra["subject"],
                "group": "x",
                "paraphrases": [f"In year {number} {each.extra['subject']} saw {each.answer}."],
                "held_out": [f"In year {number} {each.extra['subject']} had {each.answer}."],
            },
        )
        for number, each in enumerate(facts())
    )
    assert "worded as no other" in refusal(name, target(model, forget))


def test_a_model_that_cannot_be_rounded(model, monkeypatch):
    with dissect.quantised(model, "int8"):
        for format in ("int8", "int4", "nf4"):
            assert "cannot be rounded" in refusal(f"rounding_{format}", target(model))
    monkeypatch.setattr(model, "checkpoint", None)
    assert "cannot be rounded" in refusal("rounding_int8", target(model))


def test_settings_that_make_no_sense(model):
    assert "1 <= k <= samples" in refusal("sampling", target(model), samples=2, k=3)
    assert "at least 1" in refusal("kept_in_context", target(model), shots=0)
    for name in ("continued_kept", "relearn_others", "relearn_others_with_kept"):
        assert "cannot be trained" in refusal(name, target(model), lora_rank=-1)
