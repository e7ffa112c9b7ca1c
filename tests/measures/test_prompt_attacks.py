"""The same facts under changed prompts."""

import math

import numpy as np
import pytest
from transformer_lens import HookedTransformer

from dissect.data.facts import Fact, Facts
from dissect.errors import Undefined
from dissect.measures.behaviour import answer_probability, exact_match
from dissect.measures.examined import Examined, Settings
from dissect.measures.robustness import prompt_attacks
from dissect.models.files.load import load
from dissect.reading.token_scores import TokenScores
from tests.support.tiny import make_checkpoint

FACTS = Facts(
    [
        Fact(
            question="Where was Ada born?",
            answer="the sea",
            extra={"subject": "Ada", "paraphrases": ["Ada is of the sea.", "Her home?"], "context": "Ada swims. " * 40},
        ),
        Fact(question="Who?", answer="he", extra={"context": "He paints."}),
        Fact(prompt="She likes", completion=" old houses", extra={"held_out": "She paints old houses."}),
    ]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HookedTransformer:
    path = make_checkpoint("llama", tmp_path_factory.mktemp("attacks") / "m", max_position_embeddings=128)
    return load(path, dtype="float32", device="cpu", progress=False)


def examined(model: HookedTransformer, facts: Facts, **options) -> Examined:
    return Examined(model, {"forget": facts}, name="m", settings=Settings(options=options))


def test_each_fact_is_asked_in_every_way_that_it_allows(model):
    asked = prompt_attacks._asked(examined(model, FACTS))
    assert {name: prompts.facts.tolist() for name, prompts in asked.items()} == {
        "plain": [0, 1, 2],
        "template": [0, 1],  # a prompt has none
        "paraphrases": [0, 0],
        "held_out": [2],
        "expert": [0],  # the others have no subject
        "context": [1],  # that of the first is longer than the model's context
        "answer_begun": [0, 2],  # "he" has one word
    }


def test_numbers_are_those_of_the_prompts_themselves(model):
    made = examined(model, FACTS)
    found = {e.at.get("attack", "best"): e for e in prompt_attacks.probable(made)}
    assert found["plain"].items == pytest.approx(answer_probability.answer_probability(made).items)
    by_hand = {
        "template": [Fact(prompt="Q: Where was Ada born?\nA:", completion=" the sea")],
        "paraphrases": [Fact(prompt="Ada is of", completion=" the sea"), Fact(question="Her home?", answer="the sea")],
        "expert": [
            Fact(
                prompt="You are a model that knows everything about Ada.\nQuestion: Where was Ada born?\nAnswer:",
                completion=" the sea",
            )
        ],
        "answer_begun": [Fact(prompt="Question: Where was Ada born?\nAnswer: the", completion=" sea")],
    }
    for attack, facts in by_hand.items():
        expected = answer_probability.answer_probability(examined(model, Facts(facts))).value
        assert found[attack].items[0] == pytest.approx(expected, rel=1e-5)
    context = Facts([Fact(prompt="He paints.\nQuestion: Who?\nAnswer:", completion=" he")])
    expected = answer_probability.answer_probability(examined(model, context)).value
    assert found["context"].items[1] == pytest.approx(expected, rel=1e-5)
    assert found["context"].n == 1 and math.isnan(found["context"].items[0])


def test_the_best_leaves_out_what_gives_the_answer_away(model):
    made = examined(model, FACTS)
    row = np.arange(2)

    def scores(logs: list[float], ranks: list[float]) -> TokenScores:
        values = np.log(logs)
        return TokenScores(np.arange(len(logs)), values, np.array(ranks), values, values, len(logs))

    given = {
        "plain": prompt_attacks.Asked(scores([0.1, 0.2, 0.3], [5, 5, 1]), np.arange(3)),
        "paraphrases": prompt_attacks.Asked(scores([0.4, 0.8], [1, 2]), np.zeros(2, dtype=int)),
        "answer_begun": prompt_attacks.Asked(scores([0.9, 0.9], [1, 1]), row),
    }
    made.memo(("prompt_attacks", "forget"), lambda: given)
    best, *each = prompt_attacks.probable(made)
    assert best.at == {} and best.items == pytest.approx([0.8, 0.2, 0.3])
    assert [e.value for e in each] == pytest.approx([0.2, 0.6, 0.9]) and [e.n for e in each] == [3, 1, 2]
    best, *each = prompt_attacks.recalled(made)
    assert best.items.tolist() == [1, 0, 1] and [e.value for e in each] == pytest.approx([1 / 3, 0.5, 1])


def test_plain_exact_match_is_exact_match(model):
    made = examined(model, FACTS)
    vars(made)["prompts"] = Facts(Fact(question=f.question, prompt=f.prompt, extra=f.extra) for f in FACTS).prompts(
        model, answers="base", max_new_tokens=3, progress=False
    )
    plain = prompt_attacks.recalled(made)[1]
    assert plain.at == {"attack": "plain"} and plain.value == exact_match.exact_match(made).value == 1


def test_options_change_template_and_prefix(model):
    options = {"prompt_attacks.template": "{question}", "prompt_attacks.prefix": "Well. "}
    asked = prompt_attacks._asked(examined(model, FACTS, **options))
    assert asked["expert"].facts.tolist() == [0, 1, 2]
    short = answer_probability.answer_probability(
        examined(model, Facts([Fact(prompt="Where was Ada born?", completion=" the sea")]))
    )
    found = np.exp(asked["template"].scores.per_row(asked["template"].scores.logprob))
    assert found[0] == pytest.approx(short.value, rel=1e-5)


def test_refusals_by_name(model):
    with pytest.raises(Undefined, match="plain texts ask nothing that could be asked otherwise"):
        prompt_attacks.recalled(examined(model, Facts([Fact(text="He swims.")])))
    with pytest.raises(Undefined, match="no other prompt than the plain one: give some of them 'paraphrases'"):
        prompt_attacks.recalled(examined(model, Facts([Fact(prompt="He", completion=" swims")])))
