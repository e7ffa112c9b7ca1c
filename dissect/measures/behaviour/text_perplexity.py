"""Perplexity of the scored tokens of texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dissect.data.text_windows import check_windows
from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option

MAX_LENGTH: Option[int | None] = Option(
    "perplexity.max_length",
    None,
    "Cut texts into windows of this many tokens; by default only those longer than the context.",
    "a whole number of at least 2",
    lambda value: value is None or _whole(value, 2),
)
STRIDE: Option[int | None] = Option(
    "perplexity.stride",
    None,
    "Tokens from one window to the next; by default windows do not overlap.",
    "a whole number of at least 1",
    lambda value: value is None or _whole(value, 1),
)


def perplexity_of_texts(examined: Examined) -> Estimate:
    """Perplexity of plain texts, a ratio of sums; its interval draws whole texts.

    Raises:
        Undefined: facts that are not plain texts.
    """
    if any(fact.kind != "text" for fact in examined.facts):
        raise Undefined("it needs plain texts, and these are questions or prompts: see answer_probability for those")
    parts = _by_text(examined)
    surprise, n_tokens = np.array([-part.sum() for part in parts]), np.array([len(part) for part in parts])

    def ratio(chosen: np.ndarray, axis: int = -1) -> Any:
        rows = chosen.astype(np.int64)
        with np.errstate(over="ignore"):
            return np.exp(surprise[rows].sum(axis) / n_tokens[rows].sum(axis))

    return statistic_of([np.arange(len(parts))], ratio, unit="texts")


def _by_text(examined: Examined) -> list[np.ndarray]:
    """Return the log-probability of each text's scored tokens; the windows of a long text are joined."""
    size, stride, context = examined.option(MAX_LENGTH), examined.option(STRIDE), examined.model.cfg.n_ctx
    if size is None:
        try:
            return examined.scores.split(examined.scores.logprob)
        except Undefined:  # mostly a text that is longer than the context
            size = context
    prompts = examined.prompted(examined.facts, max_length=min(size, context), stride=stride)
    scores = examined.scored(prompts)
    parts: list[list[np.ndarray]] = []
    for row, part in enumerate(scores.split(scores.logprob)):
        # windows of one text follow each other
        if row == 0 or prompts.facts[row] is not prompts.facts[row - 1]:
            parts.append([])
        parts[-1].append(part)
    return [np.concatenate(each) for each in parts]


def _check(options: Mapping[str, Any]) -> None:
    """Refuse a stride without windows."""
    check_windows(options.get(MAX_LENGTH.name), options.get(STRIDE.name))


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


MEASURE = Measure(
    name="perplexity",
    label="perplexity",
    definition=(
        "exp of the mean of -log p over all tokens of all texts, each text's first one excepted: 1 is certainty, the "
        "vocabulary's size guessing; long texts weigh more; texts longer than the context are cut into windows "
        "(perplexity.max_length, perplexity.stride) in which every token is scored once"
    ),
    family="behaviour",
    compute=perplexity_of_texts,
    sets=("texts", "forget", "retain", "nonmembers"),
    knows="low",
    options=(MAX_LENGTH, STRIDE),
    check=_check,
)
