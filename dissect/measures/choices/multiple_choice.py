"""Multiple choice: the share of questions whose right choice a model finds most likely, as lm-eval scores them."""

from collections.abc import Callable

import numpy as np

from dissect.measures.choices.choice_scores import DESCRIBED, SETS, SHOTS, ChoiceScores, choice_scores
from dissect.measures.estimate import Estimate, mean_of, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure

_WRITTEN = (
    "multiple_choice.shots solved questions of the topic before it, as lm-eval asks its tasks; one row for each topic "
    "where there are several"
)


def accuracy(
    sizes: Callable[[ChoiceScores], list[np.ndarray]] | None, *, letters: bool
) -> Callable[[Examined], list[Estimate]]:
    """Return what takes the choice with the highest log p over its size; of equal ones the first."""

    def compute(examined: Examined) -> list[Estimate]:
        scores = choice_scores(examined, letters=letters)
        over = [np.ones(1)] * len(scores.right) if sizes is None else sizes(scores)
        taken = [int(np.argmax(logs / size)) for logs, size in zip(scores.logprobs, over, strict=True)]
        hits = (np.array(taken) == scores.right).astype(float)
        return [share_of(hits), *(share_of(hits[rows], topic=topic) for topic, rows in _topics(scores))]

    return compute


def probability(examined: Examined) -> list[Estimate]:
    """Mean over questions of p(right letter) / Σ p(letter)."""
    scores = choice_scores(examined, letters=True)
    shares = np.array(
        [
            np.exp(logs[right] - np.logaddexp.reduce(logs))
            for logs, right in zip(scores.logprobs, scores.right, strict=True)
        ]
    )
    return [mean_of(shares), *(mean_of(shares[rows], topic=topic) for topic, rows in _topics(scores))]


def _topics(scores: ChoiceScores) -> list[tuple[str, np.ndarray]]:
    names = np.array(scores.topics)
    topics = list(dict.fromkeys(scores.topics))
    return [(topic, np.flatnonzero(names == topic)) for topic in topics] if len(topics) > 1 else []


def _measure(name: str, label: str, what: str, compute: Callable[[Examined], list[Estimate]]) -> Measure:
    return Measure(
        name=name,
        label=label,
        definition=f"{what}; {_WRITTEN}",
        family="behaviour",
        compute=compute,
        options=(SHOTS, DESCRIBED),
        sets=SETS,
        knows="high",
        slow=True,
    )


_ANSWERS = "share of questions whose right choice, written out after 'Question: ... Answer:', has the highest log p"
MEASURES = (
    _measure(
        "multiple_choice",
        "multiple choice (letter)",
        "share of questions after whose lettered choices the right letter is the most likely of them (acc of lm-eval's "
        "mmlu and wmdp); guessing gives one over the number of choices",
        accuracy(None, letters=True),
    ),
    _measure(
        "multiple_choice_probability",
        "probability of the right letter",
        "mean over questions of the right letter's probability among the letters of the choices",
        probability,
    ),
    _measure(
        "multiple_choice_answer",
        "multiple choice (answer)",
        f"{_ANSWERS} (lm-eval's acc)",
        accuracy(None, letters=False),
    ),
    _measure(
        "multiple_choice_answer_per_token",
        "multiple choice (answer, per token)",
        f"{_ANSWERS} per token",
        accuracy(lambda scores: scores.n_tokens, letters=False),
    ),
    _measure(
        "multiple_choice_answer_per_byte",
        "multiple choice (answer, per byte)",
        f"{_ANSWERS} per UTF-8 byte of the choice (lm-eval's acc_bytes)",
        accuracy(lambda scores: scores.n_bytes, letters=False),
    ),
    _measure(
        "multiple_choice_answer_per_character",
        "multiple choice (answer, per character)",
        f"{_ANSWERS} per character of the choice (lm-eval's acc_norm, which divides by characters and not by bytes)",
        accuracy(lambda scores: scores.n_characters, letters=False),
    ),
)
