"""The same facts in other words, by hand."""

import pytest

from dissect.data.facts import Fact, Facts
from dissect.data.variants import answer_begun, held_out, other_template, paraphrased, with_prefix
from dissect.data.world import World
from dissect.errors import DissectError

TEMPLATE = "Q: {question}\nA:"


def one(**keys) -> Facts:
    return Facts([Fact(**keys)])


def asked(facts: Facts) -> list[tuple[str, str | None]]:
    return [(getattr(fact, fact.kind), fact.target) for fact in facts]


def test_statements_are_cut_before_the_answer_and_questions_stay_questions():
    facts = one(
        question="Where was Ada born?",
        answer="Port Ellery",
        extra={
            "subject": "Ada",
            "perturbed": ["Varnholt"],
            "paraphrases": [
                "Ada comes from Port Ellery.",
                'They say: "Ada was born in Port Ellery!"',
                "Which town is Ada from?",
                "Name the birthplace of Ada.",
                "Was Ada born in Varnholt or Port Ellery?",
                "Port Ellery is where Ada was born.",  # gives the answer away
                "Ada lives in Newport Ellery.",  # another town: no word of the answer's own
            ],
            "held_out": "The home town of Ada is Port Ellery",
        },
    )
    found = paraphrased(facts)
    assert asked(found) == [
        ("Ada comes from", " Port Ellery"),
        ('They say: "Ada was born in', " Port Ellery"),
        ("Which town is Ada from?", "Port Ellery"),
        ("Name the birthplace of Ada.", "Port Ellery"),
        ("Was Ada born in Varnholt or Port Ellery?", "Port Ellery"),
        ("Ada lives in Newport Ellery.", "Port Ellery"),
    ]
    assert [fact.kind for fact in found] == ["prompt"] * 2 + ["question"] * 4
    assert all(fact.extra == {"subject": "Ada", "perturbed": ["Varnholt"]} for fact in found)
    assert asked(held_out(facts)) == [("The home town of Ada is", " Port Ellery")]


def test_the_answers_own_full_stop_is_no_part_of_what_is_asked():
    facts = one(
        question="Does Lily swim?", answer="Yes, she does.", extra={"paraphrases": ["Lily swims? Yes, she does."]}
    )
    assert asked(paraphrased(facts)) == [("Lily swims?", " Yes, she does")]


def test_prompts_texts_and_facts_without_answer():
    prompt = one(prompt="Ada lives in", completion=" Rome", extra={"paraphrases": ["Ada's home is", "She chose Rome."]})
    assert asked(paraphrased(prompt)) == [("Ada's home is", " Rome"), ("She chose", " Rome")]
    assert asked(paraphrased(one(text="Rome.", extra={"paraphrases": ["Roma."]}))) == [("Roma.", None)]
    assert asked(paraphrased(one(question="Who?", extra={"paraphrases": ["Which one?"]}))) == [("Which one?", None)]


def test_facts_without_other_words_are_left_out_and_other_things_refused():
    assert len(paraphrased(one(question="Who?", answer="Ada"))) == 0
    for bad in ([3], [" "], [None]):
        with pytest.raises(DissectError, match="'paraphrases' of 'Who\\?' must hold texts"):
            paraphrased(one(question="Who?", answer="Ada", extra={"paraphrases": bad}))


def test_the_world_is_cut_in_the_same_way():
    world = World.make(10, 3)
    assert held_out(world.facts()) == world.sentences(world.facts())
    assert paraphrased(world.facts()) == world.sentences(world.facts(), forms="paraphrases")
    fact = held_out(world.facts())[0]
    assert set(fact.extra) == {"subject", "person", "attribute", "perturbed"}


def test_templates_and_prefixes_make_prompts():
    facts = Facts([Fact(question="Who?", answer="Ada", extra={"topic": "mathematics"}), Fact(text="Plain.")])
    assert asked(other_template(facts, TEMPLATE)) == [("Q: Who?\nA:", " Ada")]
    assert asked(with_prefix(facts, "Hear {topic}! ", TEMPLATE)) == [("Hear mathematics! Q: Who?\nA:", " Ada")]
    assert asked(with_prefix(facts, "{absent}", TEMPLATE)) == []
    by_function = with_prefix(facts, lambda fact: fact.extra["topic"][:4] + " ", TEMPLATE)
    assert asked(by_function) == [("math Q: Who?\nA:", " Ada")]
    completed = one(prompt="Ada was", completion=" born")
    assert asked(with_prefix(completed, "Well, ", TEMPLATE)) == [("Well, Ada was", " born")]
    with pytest.raises(DissectError, match="is malformed"):
        with_prefix(facts, "{", TEMPLATE)


def test_the_answer_is_begun_between_words():
    facts = Facts(
        [
            Fact(question="Where?", answer="in Port  Ellery"),
            Fact(prompt="She works as a", completion=" deep sea diver"),
            Fact(question="Who?", answer="Ada"),
            Fact(text="a plain text"),
            Fact(question="Unanswered?"),
        ]
    )
    assert asked(answer_begun(facts, TEMPLATE)) == [
        ("Q: Where?\nA: in", " Port  Ellery"),
        ("She works as a deep", " sea diver"),
    ]
    assert asked(answer_begun(facts, TEMPLATE, n_words=2)) == [
        ("Q: Where?\nA: in Port", "  Ellery"),
        ("She works as a deep sea", " diver"),
    ]
    with pytest.raises(DissectError, match="n_words must be at least 1, got 0"):
        answer_begun(facts, TEMPLATE, n_words=0)
