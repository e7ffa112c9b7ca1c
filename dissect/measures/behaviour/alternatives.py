"""The right answer among wrong ones: what a model gives to each, by which TOFU judges it."""

from dataclasses import dataclass

import numpy as np

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.measures.examined import Examined
from dissect.measures.option import choice

AVERAGE = choice(
    "truth_ratio.average", ("arithmetic", "geometric"), "Mean of the wrong answers' probabilities in the truth ratio."
)
"""``arithmetic``: their mean, as in the TOFU paper; ``geometric``: exp of the mean of their logarithms, as in its
``aggregate_eval_stat.py`` and forget quality, and in open-unlearning (locuslab/open-unlearning#26)."""


@dataclass(frozen=True)
class Alternatives:
    """log p(answer)^(1/tokens) of answers to each fact; NaN and empty where a fact has no wrong answers."""

    right: np.ndarray
    """The answer itself."""
    restated: np.ndarray
    """The answer in other words (``paraphrased_answer``); the answer itself where there is none."""
    wrong: list[np.ndarray]
    """Each wrong answer (``perturbed``)."""


def alternatives(examined: Examined) -> Alternatives:
    """Score the answers to every fact of the set: all but its own in one run of batches; its own are scored already.

    Raises:
        Undefined: no fact has wrong answers, or they are plain texts.
    """
    return examined.memo(("alternatives", examined.set), lambda: _alternatives(examined))


def log_truth_ratio(examined: Examined) -> np.ndarray:
    """log R of each fact, NaN where it has no wrong answers.

    R = mean over wrong answers of p(wrong)^(1/|wrong|), divided by p(restated answer)^(1/|.|): 1 where a wrong answer
    is as likely as the right one, towards 0 in a model that knows. ``truth_ratio.average`` says which mean.

    Raises:
        DissectError: an unknown mean.
        Undefined: see `alternatives`.
    """
    average = examined.option(AVERAGE)
    answers = alternatives(examined)
    wrong = [_log_mean(logs) if average == "arithmetic" else logs.mean() for logs in answers.wrong if len(logs)]
    ratio = np.full(len(answers.wrong), np.nan)
    ratio[[len(logs) > 0 for logs in answers.wrong]] = wrong
    return ratio - answers.restated


def choice_probability(examined: Examined) -> np.ndarray:
    """p(answer) / (p(answer) + Σ p(wrong)) of each fact, all of them per token; NaN where it has no wrong answers."""
    answers = alternatives(examined)
    shares = np.full(len(answers.wrong), np.nan)
    for i, wrong in enumerate(answers.wrong):
        if len(wrong):
            logs = np.concatenate([answers.right[i : i + 1], wrong])
            shares[i] = np.exp(logs[0] - np.logaddexp.reduce(logs))
    return shares


def _alternatives(examined: Examined) -> Alternatives:
    if any(fact.kind == "text" for fact in examined.facts):
        raise Undefined("plain texts have no answers to get wrong: give questions, or prompts with completions")
    wrong = [_texts(fact, "perturbed") for fact in examined.facts]
    if not any(wrong):
        raise Undefined("no fact has wrong answers to compare with: give each a list of some under 'perturbed'")
    restated = [
        _texts(fact, "paraphrased_answer")[:1] if w else [] for fact, w in zip(examined.facts, wrong, strict=True)
    ]
    rows = [[*first, *others] for first, others in zip(restated, wrong, strict=True)]
    facts = Facts(_answering(f, text) for f, texts in zip(examined.facts, rows, strict=True) for text in texts)
    own, scores = examined.scores, examined.scored(examined.prompted(facts))
    means = np.split(scores.per_row(scores.logprob), np.cumsum([len(row) for row in rows])[:-1])
    right = np.where([len(w) > 0 for w in wrong], own.per_row(own.logprob), np.nan)
    other = np.array([logs[0] if first else mean for logs, first, mean in zip(means, restated, right, strict=True)])
    return Alternatives(right, other, [logs[len(first) :] for logs, first in zip(means, restated, strict=True)])


def _texts(fact: Fact, key: str) -> list[str]:
    value = fact.extra.get(key, [])
    texts = list(value) if isinstance(value, (list, tuple)) else [value]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise Undefined(f"{key!r} of {getattr(fact, fact.kind)!r:.60} must hold texts, got {text!r:.60}")
    return texts


def _answering(fact: Fact, text: str) -> Fact:
    """Return the fact with another answer, which is joined to a prompt as the fact's own completion is."""
    if fact.question is not None:
        return Fact(question=fact.question, answer=text, extra=fact.extra)
    own = str(fact.completion)
    space = own[: len(own) - len(own.lstrip())]
    return Fact(prompt=fact.prompt, completion=space + text.lstrip() if space else text, extra=fact.extra)


def _log_mean(logs: np.ndarray) -> float:
    return float(np.logaddexp.reduce(logs) - np.log(len(logs)))
