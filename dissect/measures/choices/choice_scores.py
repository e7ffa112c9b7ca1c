"""Multiple-choice questions as they are asked, and what a model gives to each choice: as lm-eval's tasks do it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.readers.choices import LETTERS, choice_facts, choices_of
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Examined
from dissect.measures.option import switch, whole_number

SHOTS = whole_number("multiple_choice.shots", 0, "Solved questions before each one.", least=0)
DESCRIBED = switch("multiple_choice.describe", True, "Begin with a sentence that names the topic, as lm-eval does.")
SHOTS_SET = "choice_shots"
"""The set that solved questions are taken from: the first ones of the same topic, in order."""
SETS = ("mmlu", "wmdp", "choices")
_AT_ONCE = 256
"""Questions that are tokenised together: the longest of them decides how wide all are."""


@dataclass(frozen=True)
class ChoiceScores:
    """One entry a question."""

    logprobs: list[np.ndarray]
    """log p of each choice after the question, summed over its tokens."""
    n_tokens: list[np.ndarray]
    n_bytes: list[np.ndarray]
    """UTF-8 bytes of each choice, without the space before it."""
    n_characters: list[np.ndarray]
    right: np.ndarray
    """Number of the right choice."""
    topics: list[str]


def choice_scores(examined: Examined, *, letters: bool) -> ChoiceScores:
    """Score every choice of the set's questions: the letters behind listed choices, or the choices themselves.

    Raises:
        Undefined: a fact without choices, too few solved questions, or a question that is longer than the context.
    """
    shots, described = examined.option(SHOTS), examined.option(DESCRIBED)
    key = ("choice_scores", examined.set, letters, shots, described)
    return examined.memo(key, lambda: _scores(examined, letters, shots, described))


def asked(question: Fact, *, letters: bool) -> str:
    """The question as lm-eval writes it: with lettered choices (its MMLU and WMDP), or by itself."""
    text = str(question.question).strip()
    if not letters:
        return f"Question: {text}\nAnswer:"
    listed = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices_of(question), strict=False)]
    return "\n".join([text, *listed, "Answer:"])


def context(question: Fact, shots: Sequence[Fact], *, letters: bool, described: bool) -> str:
    """Everything before the choice: a sentence on the topic, solved questions, and the question."""
    topic = question.extra.get("topic")
    head = f"The following are multiple choice questions (with answers) about {topic}.\n\n"
    solved = [
        f"{asked(shot, letters=letters)} {_said(shot, letters)[shot.extra['answer_index']]}\n\n" for shot in shots
    ]
    return (head if described and topic else "") + "".join(solved) + asked(question, letters=letters)


def _said(question: Fact, letters: bool) -> list[str]:
    choices = choices_of(question)
    return list(LETTERS[: len(choices)]) if letters else choices


def _scores(examined: Examined, letters: bool, n_shots: int, described: bool) -> ChoiceScores:
    try:
        facts = choice_facts(examined.facts, where=examined.set)
        solved = choice_facts(examined.on(SHOTS_SET).facts, where=SHOTS_SET) if n_shots else []
    except DissectError as error:
        raise Undefined(str(error)) from error
    logprobs: list[np.ndarray] = []
    n_tokens: list[np.ndarray] = []
    for start in range(0, len(facts), _AT_ONCE):
        part = facts[start : start + _AT_ONCE]
        contexts = [context(f, _shots_for(f, solved, n_shots), letters=letters, described=described) for f in part]
        texts = [_said(fact, letters) for fact in part]
        rows = Facts(
            Fact(prompt=before, completion=f" {text}")
            for before, own in zip(contexts, texts, strict=True)
            for text in own
        )
        scores = examined.scored(examined.prompted(rows))
        tokens = scores.split(scores.logprob)
        ends = np.cumsum([len(own) for own in texts])[:-1]
        logprobs += np.split(np.array([row.sum() for row in tokens]), ends)
        n_tokens += np.split(np.array([len(row) for row in tokens]), ends)
    said = [_said(fact, letters) for fact in facts]
    return ChoiceScores(
        logprobs,
        n_tokens,
        [np.array([len(text.encode()) for text in own]) for own in said],
        [np.array([len(text) for text in own]) for own in said],
        np.array([fact.extra["answer_index"] for fact in facts]),
        [str(fact.extra.get("topic", "")) for fact in facts],
    )


def _shots_for(question: Fact, solved: Sequence[Fact], n: int) -> Sequence[Fact]:
    topic = question.extra.get("topic")
    same = [fact for fact in solved if fact.extra.get("topic") == topic]
    if len(same) < n:
        raise Undefined(
            f"it needs {n} solved questions about {topic or 'the same topic'} in {SHOTS_SET!r}, got {len(same)}: give "
            "more, or a smaller multiple_choice.shots"
        )
    return same[:n]
