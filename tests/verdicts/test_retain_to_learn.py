"""Which retain facts attacks may learn from: about others, or about the tested ones without any tested answer."""

import pytest

from dissect.data.facts import Fact, Facts
from dissect.pairing.tested import paired
from dissect.verdicts.retain_to_learn import ENOUGH, NOTE, UNNAMED, retain_to_learn, telling_words

TOWNS = ("Rome", "Oslo", "Bern", "Lima")


def about(subject, question, answer, group, **extra):
    return Fact(question=f"{question} {subject}?", answer=answer, extra={"subject": subject, "group": group, **extra})


FORGET = Facts(about(f"Person {i}", "Town of", TOWNS[i % 4], "town") for i in range(12))
TESTED = paired(FORGET, n_folds=1)


def learnt(retain, forget=FORGET):
    return retain_to_learn(Facts(retain), forget, paired(forget, n_folds=1), "subject")


def test_facts_about_others_are_enough():
    others = [about(f"Other {i}", "Town of", "Rome", "town") for i in range(ENOUGH)]
    own = [about("Person 1", "Job of", "cook", "job")]
    assert learnt([*others, *own]) == (Facts(others), "")


def test_where_there_are_none_those_about_the_tested_stand_in():
    own = [about(f"Person {i}", "Job of", "cook", "job") for i in range(12)]
    assert learnt(own) == (Facts(own), NOTE)


@pytest.mark.parametrize("told", ["Rome", "a street in Rome", "rome", "In Rome: cook", "R\u00f3me United", "ROME!"])
def test_no_word_of_an_answer_that_is_tested_stands_in_them(told):
    own = [about("Person 1", "Job of", "cook", "job"), about("Person 2", "Home of", told, "home")]
    assert learnt(own) == (Facts(own[:1]), NOTE)
    asked = Fact(question=f"Who knows {told}?", answer="Person 4", extra={"subject": "Person 4"})
    assert learnt([own[0], asked]) == (Facts(own[:1]), NOTE)


def test_sentences_tell_by_their_own_words():
    forget = Facts(
        about(f"Person {i}", "Which town was the home of", f"The home of Person {i} was {TOWNS[i % 4]}.", "town")
        for i in range(12)
    )
    assert telling_words(forget) == {"rome", "oslo", "bern", "lima"}
    own = [
        about("Person 1", "Job of", "Person 1 was a cook.", "job"),
        about("Person 2", "Team of", "Roma of Rome.", "x"),
    ]
    assert learnt(own, forget) == (Facts(own[:1]), NOTE)


def test_short_answers_count():
    forget = Facts(
        about(f"Person {i}", "Town of", f"It is {TOWNS[i % 4]}.", "town", short=[TOWNS[i % 4]]) for i in range(12)
    )
    own = [about("Person 1", "Job of", "cook", "job"), about("Person 2", "Team of", "Rome United", "team")]
    assert learnt(own, forget) == (Facts(own[:1]), NOTE)


def test_an_answer_that_most_share_is_told_all_the_same():
    forget = Facts(about(f"Person {i}", "Town of", "Rome" if i % 4 else "Oslo", "town") for i in range(12))
    assert telling_words(forget) == {"rome", "oslo"}


def test_what_is_asked_of_the_forget_facts_is_never_learnt():
    again = Fact(question=FORGET[0].question, answer="a cook", extra={"subject": "Somebody"})
    few = about("Other", "Job of", "cook", "job")
    assert learnt([again, few]) == (Facts([few]), "")
    assert learnt([again]) == (Facts(), "")


def test_where_nobody_is_named_it_is_said():
    forget = Facts(Fact(question=fact.question, answer=fact.answer, extra={"group": "town"}) for fact in FORGET)
    others = [about(f"Other {i}", "Town of", "Rome", "town") for i in range(ENOUGH)]
    assert learnt(others, forget) == (Facts(others), UNNAMED)
    assert learnt([], forget) == (Facts(), "")
