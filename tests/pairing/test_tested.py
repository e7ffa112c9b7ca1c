"""What is tested of which facts, and what is refused with one sentence."""

import numpy as np
import pytest

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.pairing.tested import BLOCK, paired
from tests.pairing.people import TOWNS, fact, people


def test_blocks_lie_within_folds_and_are_small():
    made = paired(people(97, ("town", "work")))
    assert {block.sheet.fold for block in made.blocks} == {0, 1}
    seen = [number for block in made.blocks for number in block.facts]
    assert sorted(seen) == list(range(194))
    for block in made.blocks:
        assert len(set(block.subjects)) <= BLOCK
        assert set(made.folds[block.facts]) == {block.sheet.fold}
    by_subject = {}
    for number, each in enumerate(made.facts):
        by_subject.setdefault(each.extra["subject"], set()).add(made.folds[number])
    assert all(len(folds) == 1 for folds in by_subject.values())
    assert paired(people(97), seed=0).folds.tolist() == paired(people(97), seed=0).folds.tolist()
    assert paired(people(97), seed=0).folds.tolist() != paired(people(97), seed=1).folds.tolist()


def test_few_subjects_are_not_cut_into_folds():
    assert {block.sheet.fold for block in paired(people(7)).blocks} == {0}
    assert {block.sheet.fold for block in paired(people(14)).blocks} == {0, 1}
    assert {block.sheet.fold for block in paired(people(8), n_folds=2).blocks} == {0, 1}


def test_sheets_hold_no_answer_of_their_own():
    """Nothing that an attack gets says which candidate is right: sheets of other truths are equal."""
    facts = people(8)
    swapped = Facts(
        Fact(question=a.question, answer=b.answer, extra=a.extra)
        for a, b in zip(facts, [*facts[1:], facts[0]], strict=True)
    )
    first, second = (paired(each, n_folds=1) for each in (facts, swapped))
    assert first.sheets == second.sheets
    assert not np.array_equal(first.blocks[0].own, second.blocks[0].own)
    told = fact("Ada", "town", "Varnholt", perturbed=["Ostrand"], short="Varnholt", paraphrases=["Ada is of Varnholt."])
    made = paired([told, *people(5)], n_folds=1)
    asks = [ask for sheet in made.sheets for ask in sheet.asks]
    assert not any("Varnholt" in repr(ask.questions) for ask in asks)
    assert "Ada is of" in repr([ask.questions for ask in asks])


def test_answers_that_name_their_subject_name_the_subject_of_the_question():
    facts = [fact(name, "town", f"{name} was born in {town}.") for name, town in zip("ABCDE", TOWNS, strict=False)]
    (block,) = paired(facts, n_folds=1).blocks
    for ask in block.sheet.asks:
        subject = ask.asked()[0].fact.extra["subject"]
        assert all(text.startswith(f"{subject} was born in ") for text in ask.answers)
        assert len(set(ask.answers)) == 5


def test_facts_that_repeat_count_once():
    made = paired([*people(6), *people(6)], n_folds=1)
    assert len(made.rows) == 6
    assert "6 facts repeat others and count once." in made.notes


def test_subjects_are_swapped_where_questions_have_nothing_in_common():
    facts = [
        Fact(question=f"{verb} {name} {noun}?", answer=f"{name} says {noun} {i}", extra={"subject": name})
        for i, (name, verb, noun) in enumerate(
            (n, v, w) for n in ("Ada Byrne", "Basil Crum", "Cleo Dahl") for v, w in (("Does", "swim"), ("Will", "sing"))
        )
    ]
    made = paired(facts, n_folds=1)
    (block,) = made.blocks
    assert block.sheet.kind == "subjects" and block.sheet.shape == (6, 3)
    ask = next(ask for ask in block.sheet.asks if ask.row == 0 and ask.columns == (2,))
    assert ask.asked()[0].fact.question == "Does Cleo Dahl swim?" and ask.answers == ("Cleo Dahl says swim 0",)
    assert block.slot.tolist() == [0, 0, 1, 1, 2, 2]
    for draw in next(made.dealing.draws(30, seed=0)):  # both questions about a person go to one other
        assert all(draw[i] == draw[i + 1] for i in (0, 2, 4)) and sorted(draw[::2]) == [0, 1, 2]
    assert made.exact


def test_names_left_in_answers_are_said():
    facts = [
        Fact(
            question=f"Where does {n} {s} live?", answer=f"The {s} family lives in {t}.", extra={"subject": f"{n} {s}"}
        )
        for n, s, t in (("Ada", "Byrne", "Varnholt"), ("Basil", "Crumb", "Ostrand"), ("Cleo", "Dahlia", "Ishmere"))
    ]
    made = paired([Fact(question=f.question, answer=f.answer, extra={**f.extra, "group": "home"}) for f in facts])
    assert not made.exact and "part of their subject's name" in made.groups[0].note


def test_given_foils():
    facts = [
        Fact(
            question=f"Which of {i}?",
            answer=f"right {i}",
            extra={"perturbed": [f"wrong {i}", f"bad {i}", f"Right {i}."]},
        )
        for i in range(9)
    ]
    made = paired(facts, n_folds=1)
    (block,) = made.blocks
    assert block.sheet.kind == "foils" and block.sheet.shape == (9, 3)  # the foil that equals the answer is none
    assert not made.exact and "only if" in made.groups[0].note
    draws = np.concatenate(list(made.dealing.draws(3000, seed=0)))
    assert np.abs(np.bincount(draws[:, 0]) / 3000 - 1 / 3).max() < 0.04


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([], "There are no facts"),
        ([Fact(text="All of it.")], "no question with an answer"),
        ([fact("Ada", "town", "Varnholt")], "alone in its group"),
        ([fact(name, "town", "Varnholt") for name in "ABCD"], "the same answer"),
        ([Fact(question="Why?", answer="Because."), Fact(question="How?", answer="So.")], "stand alone"),
        ([fact("Ada", "town", "Varnholt"), fact("Ada", "town", "Ostrand")], "alone in"),
    ],
)
def test_nothing_to_compare_is_one_sentence(facts, said):
    with pytest.raises(DissectError, match="no answer can be told from another") as error:
        paired(facts)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_group_of_one_is_left_out_beside_others():
    made = paired([*people(6), fact("Ada", "pet", "a newt")], n_folds=1)
    assert [group.name for group in made.groups] == ["town"]
    assert "1 fact stands alone in its group" in made.notes[0]
    assert made.folds[-1] == -1


def test_facts_that_do_not_say_whom_they_are_about_are_in_one_fold():
    """Two of them may be about one subject: nothing is relearnt from one before the other is read."""
    named = [
        Fact(question=f"Town of Ann{i}?", answer=f"{chr(97 + i)}ville", extra={"group": "t", "subject": f"Ann{i}"})
        for i in range(20)
    ]
    assert set(paired(named).folds) == {0, 1}
    for count in (1, 20):
        bare = [Fact(question=fact.question, answer=fact.answer, extra={"group": "t"}) for fact in named[:count]]
        for n_folds in (None, 2):
            assert set(paired([*bare, *named[count:]], n_folds=n_folds).folds) == {0}
