"""The right answer among wrong ones: what a model gives to each, by which TOFU judges it."""

from dataclasses import dataclass

import numpy as np

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Subject

AVERAGES = ("arithmetic", "geometric")
"""Of the wrong answers' probabilities: their mean, as in the TOFU paper, or exp of the mean of their logarithms, as in
its ``aggregate_eval_stat.py`` and forget quality, and in open-unlearning (locuslab/open-unlearning#26)."""


@dataclass(frozen=True)
class Alternatives:
    """log p(answer)^(1/tokens) of answers to each fact; NaN and empty where a fact has no wrong answers."""

    right: np.ndarray
    """Of the answer itself."""
    restated: np.ndarray
    """Of the answer in other words (``paraphrased_answer``); of the answer where there is none."""
    wrong: list[np.ndarray]
    """Of each wrong answer (``perturbed``)."""


def alternatives(subject: Subject) -> Alternatives:
    """Score the answers to every fact of the set: all but its own, which others score too, in one run of batches.

    Raises:
        Undefined: no fact has wrong answers, or they are plain texts.
    """
    return subject.memo(("alternatives", subject.set), lambda: _alternatives(subject))


def log_truth_ratio(subject: Subject) -> np.ndarray:
    """log R of each fact, NaN where it has no wrong answers.

    R = mean over wrong answers of p(wrong)^(1/|wrong|), divided by p(restated answer)^(1/|.|): 1 where a wrong answer
    is as likely as the right one, towards 0 in a model that knows. ``truth_ratio.average`` says which mean.

    Raises:
        DissectError: an unknown mean.
        Undefined: see `alternatives`.
    """
    average = subject.option("truth_ratio.average", AVERAGES[0])
    if average not in AVERAGES:
        raise DissectError(f"truth_ratio.average is {average!r}: choose from {', '.join(AVERAGES)}")
    given = alternatives(subject)
    wrong = [_log_mean(logs) if average == "arithmetic" else logs.mean() for logs in given.wrong if len(logs)]
    ratio = np.full(len(given.wrong), np.nan)
    ratio[[len(logs) > 0 for logs in given.wrong]] = wrong
    return ratio - given.restated


def choice_probability(subject: Subject) -> np.ndarray:
    """p(answer) / (p(answer) + Σ p(wrong)) of each fact, all of them per token; NaN where it has no wrong answers."""
    given = alternatives(subject)
    shares = np.full(len(given.wrong), np.nan)
    for i, wrong in enumerate(given.wrong):
        if len(wrong):
            logs = np.concatenate([given.right[i : i + 1], wrong])
            shares[i] = np.exp(logs[0] - np.logaddexp.reduce(logs))
    return shares


def _alternatives(subject: Subject) -> Alternatives:
    if any(fact.kind == "text" for fact in subject.facts):
        raise Undefined("plain texts have no answers to get wrong: give questions, or prompts with completions")
    wrong = [_texts(fact, "perturbed") for fact in subject.facts]
    if not any(wrong):
        raise Undefined("no fact has wrong answers to compare with: give each a list of some under 'perturbed'")
    restated = [
        _texts(fact, "paraphrased_answer")[:1] if w else [] for fact, w in zip(subject.facts, wrong, strict=True)
    ]
    rows = [[*one, *others] for one, others in zip(restated, wrong, strict=True)]
    asked = Facts(_answering(f, text) for f, texts in zip(subject.facts, rows, strict=True) for text in texts)
    own, scores = subject.scores, subject.scored(subject.prompted(asked))
    means = np.split(scores.per_row(scores.logprob), np.cumsum([len(row) for row in rows])[:-1])
    right = np.where([len(w) > 0 for w in wrong], own.per_row(own.logprob), np.nan)
    other = np.array([logs[0] if one else mean for logs, one, mean in zip(means, restated, right, strict=True)])
    return Alternatives(right, other, [logs[len(one) :] for logs, one in zip(means, restated, strict=True)])


def _texts(fact: Fact, key: str) -> list[str]:
    value = fact.extra.get(key, [])
    texts = list(value) if isinstance(value, (list, tuple)) else [value]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise Undefined(f"{key!r} of {getattr(fact, fact.kind)!r:.60} must hold texts, got {text!r:.60}")
    return texts


def _answering(fact: Fact, text: str) -> Fact:
    """Another answer; after a prompt it is joined as the fact's own completion is."""
    if fact.question is not None:
        return Fact(question=fact.question, answer=text, extra=fact.extra)
    own = str(fact.completion)
    space = own[: len(own) - len(own.lstrip())]
    return Fact(prompt=fact.prompt, completion=space + text.lstrip() if space else text, extra=fact.extra)


def _log_mean(logs: np.ndarray) -> float:
    return float(np.logaddexp.reduce(logs) - np.log(len(logs)))
