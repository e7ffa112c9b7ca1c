"""No attack sees who belongs to what: with the key dealt anew, its matrices are the same to the bit."""

import numpy as np
import pytest

import dissect
from dissect.attacks import rates, training
from dissect.attacks.attack import Target, unrelated
from dissect.data.facts import Fact, Facts
from dissect.pairing.tested import paired
from tests.attacks.bench import ATTACKS, TRAINING, dealt, fact, facts, few, target


@pytest.fixture(scope="module")
def model(tiny_pair):
    return dissect.load(tiny_pair("llama")[0], progress=False)


def matrices(made: Target, name: str, **more) -> list[np.ndarray]:
    return ATTACKS[name].run(made, **few(ATTACKS[name], **more))


def of_fold(made: Target, scores: list[np.ndarray], fold: int) -> list[np.ndarray]:
    return [matrix for matrix, sheet in zip(scores, made.sheets, strict=True) if sheet.fold == fold]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_key_has_no_part_in_the_matrices(model, name):
    forget = facts()
    made = paired(forget, n_folds=2)
    everywhere = name not in ("relearn_others", "relearn_others_with_kept", "linear_readout_others")
    other = dealt(forget, made, (0, 1) if everywhere else (0,))
    first, second = target(model, forget), target(model, other)
    assert [sheet.shape for sheet in first.sheets] == [sheet.shape for sheet in second.sheets]
    assert forget != other and not np.array_equal(made.blocks[0].own, paired(other, n_folds=2).blocks[0].own)
    before, after = matrices(first, name), matrices(second, name)
    assert any(np.isfinite(matrix).all() for matrix in before)
    assert same(of_fold(first, before, 0), of_fold(second, after, 0))
    # facts of fold 0 are trained on for fold 1: a leak would be seen
    assert same(of_fold(first, before, 1), of_fold(second, after, 1)) == everywhere


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("retain", [None, Facts()], ids=["retain", "none"])
def test_the_rate_is_chosen_without_the_tested_facts(model, monkeypatch, name, retain):
    if retain is not None and name != "relearn_others":
        return
    monkeypatch.setattr(rates, "RATES", (1e-3, 1e-1))
    forget = facts()
    other = dealt(forget, paired(forget, n_folds=2), (1,))  # on these the first fold's training is done
    first, second = target(model, forget, retain), target(model, other, retain)
    before, after = (matrices(each, name, lr=None) for each in (first, second))
    assert same(of_fold(first, before, 1), of_fold(second, after, 1))


@pytest.mark.parametrize("lr", [1e-3, None])
@pytest.mark.parametrize("name", TRAINING)
def test_training_gets_no_tested_subject_and_no_tested_text(model, monkeypatch, name, lr):
    monkeypatch.setattr(rates, "RATES", (1e-3,))
    taught, reading = [], []

    def prepare(model, prompts, config, **more):
        taught.append(prompts)
        return original(model, prompts, config, **more)

    def score(self, *, fold=None, **more):
        reading.append((fold, taught[-1]))
        return scored(self, fold=fold, **more)

    original, scored = training.prepare, Target.score
    monkeypatch.setattr(training, "prepare", prepare)
    monkeypatch.setattr(Target, "score", score)
    made = target(model)
    matrices(made, name, lr=lr)
    assert {fold for fold, _ in reading} == ({None} if name == "continued_kept" else {0, 1})
    for fold, prompts in reading:
        sheets = [sheet for sheet in made.sheets if fold in (None, sheet.fold)]
        tested = frozenset().union(*(sheet.subjects for sheet in sheets))
        questions = {
            str(question.fact.row())
            for sheet in sheets
            for ask in sheet.asks
            for ways in ask.questions.values()
            for question in ways
        }
        assert len(prompts) and not {each.extra["subject"] for each in prompts.facts} & tested
        assert not any(name in text.replace("?", "").split() for text in prompts.texts for name in tested)
        assert not {str(each.row()) for each in prompts.facts} & questions
    if lr is None and name != "continued_kept":  # what the rate was chosen on is no forget fact either
        names = {each.extra["subject"] for each in made.forget}
        assert not {each.extra["subject"] for each in taught[0].facts} & names


def test_facts_that_mention_a_tested_subject_are_not_trained_on(model):
    forget = [*facts(8), *facts(12)[8:]]
    made = paired(forget, n_folds=2)
    elsewhere = int(np.flatnonzero(made.folds == 1)[0])
    tested = str(forget[int(np.flatnonzero(made.folds == 0)[0])].extra["subject"])
    forget[elsewhere] = fact(str(forget[elsewhere].extra["subject"]), f"house of {tested}")
    again = target(model, Facts(forget))
    assert forget[elsewhere] not in again.others(0)
    assert len(again.others(0)) == (made.folds == 1).sum() - 1
    kept = unrelated([Fact(text="Anna met Ann."), Fact(text="Annabel."), Fact(question="Ann?", answer="no")], ["Ann"])
    assert [each.text for each in kept] == ["Annabel."]
    assert len(unrelated(facts(), [])) == 12


def test_words_that_go_with_the_answer_are_left_out(model):
    """ "is an" is right for "old ..." alone: a model that never knew would be right by grammar."""

    def worded(number: int, name: str) -> Fact:
        answer = ("old", "big")[number % 2] + f" house {'abcdefgh'[number]}"
        article = ("an", "a")[number % 2]
        said = [f"{name} is {article} {answer}.", f"They named {name} {answer}."]
        return Fact(
            question=f"Who is {name}?", answer=answer, extra={"subject": name, "group": "x", "paraphrases": said}
        )

    forget = Facts(worded(number, name) for number, name in enumerate(("Ba", "Be", "Bi", "Bo", "Da", "De", "Di", "Do")))
    made = target(model, forget, n_folds=1)
    asked = []

    def score(self, *, wording, **more):
        asked.extend(
            question.fact.prompt for sheet in self.sheets for ask in sheet.asks for question in ask.asked(wording)
        )
        return original(self, wording=wording, **more)

    original = Target.score
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Target, "score", score)
        (scores,) = matrices(made, "other_wordings")
    assert sorted(asked) == sorted(f"They named {each.extra['subject']}" for each in forget)
    assert np.isfinite(scores).all()
    assert made.notes == ["8 statements were left out: their words may go with the answer."]
