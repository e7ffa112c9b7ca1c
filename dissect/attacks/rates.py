"""How hard an attack trains: the highest learning rate that leaves held-out retain facts whole.

A rate that is too low moves nothing and finds nothing, one that is too high overwrites what it was to bring back, and
which is which depends on the size of the model. So the model is trained on retain facts at one rate after the other,
and the last one counts at which others, held out, lose no more than `HARM`. No forget fact has a part in the choice:
those relearnt for one fold are those tested in another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dissect.attacks.attack import NotPossible, Target
from dissect.attacks.training import trained
from dissect.attacks.training_budget import RATES
from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.models.checkpoint import checkpoint_or_none
from dissect.reading.token_scores import token_scores

T = TypeVar("T")

HIGHER = (1e-2, 3e-2)
"""Rates beyond them, for facts that have to be learnt, at whatever cost."""
HARM = 0.5
"""Nats a token by which held-out retain facts may be less likely than at the best rate so far."""
LONGER = 4
"""Where no rate teaches them in as many steps as there are, the best one gets so many times more."""
HELD_OUT = 0.2
"""Share of the retain facts' subjects that is held out to choose the rate."""
MOST_HELD_OUT = 64
"""Held-out retain facts at most."""
LEARNT = 0.5
"""Probability of an answer's token, the geometric mean over facts, from which the facts trained on count as learnt."""


@dataclass(frozen=True)
class Split:
    """Retain facts to train on, and others that say what a rate does to facts it does not see."""

    train: list[Fact]
    held_out: list[Fact]


def split(retain: Sequence[Fact], seed: int) -> Split:
    """Hold out whole subjects at random."""
    subjects = [str(fact.extra.get("subject", number)) for number, fact in enumerate(retain)]
    names = sorted(set(subjects))
    order = np.random.default_rng(seed).permutation(len(names))
    out = {names[i] for i in order[: round(HELD_OUT * len(names))]}
    held_out = [fact for fact, subject in zip(retain, subjects, strict=True) if subject in out]
    train = [fact for fact, subject in zip(retain, subjects, strict=True) if subject not in out]
    return Split(train, held_out[:MOST_HELD_OUT])


def strongest(
    target: Target, parts: Split, read: Callable[[], T], *, steps: int, lora_rank: int, label: str
) -> tuple[T, float]:
    """Return the result of ``read`` after training at the highest rate that harms nothing, and that rate.

    Args:
        target: under attack; the rate is kept in its ``memo`` for other attacks on the same weights.
        parts: retain facts to train on, and those that must stay whole.
        steps, lora_rank: as in `trained`.
        label: for the progress bar.
    """
    watched = target.asking.prompts(parts.held_out, target.model)
    best = _logprob(target, watched)
    kept: tuple[T, float] | None = None
    for rate in RATES:

        def both() -> tuple[T, float]:
            return read(), _logprob(target, watched)

        try:
            result, logprob = trained(target, parts.train, both, steps=steps, lr=rate, lora_rank=lora_rank, label=label)
        except NotPossible:
            if kept is None:  # it is not the rate
                raise
            break
        best = max(best, logprob)
        harmless = logprob >= best - HARM  # not so of NaN
        if harmless or kept is None:
            kept = result, rate
        if not harmless:
            break
    assert kept is not None
    if (key := _key(target, steps, lora_rank)) is not None:
        target.memo[key] = kept[1]
    return kept


def harmless_rate(target: Target, parts: Split, *, steps: int, lora_rank: int) -> float:
    """The rate that `strongest` takes, found anew only where no attack on the same weights has found it."""
    key = _key(target, steps, lora_rank)
    if key in target.memo:
        return float(target.memo[key])
    return strongest(
        target, parts, lambda: None, steps=steps, lora_rank=lora_rank, label="choosing the rate on retain facts"
    )[1]


def until_learnt(
    target: Target,
    facts: Sequence[Fact],
    read: Callable[[], T],
    *,
    steps: int,
    lora_rank: int,
    label: str,
    lowest: float = 0.0,
    watched: Sequence[Fact] | None = None,
) -> tuple[T, float, bool]:
    """Return the result of ``read`` at the lowest rate that teaches the facts, that rate, and True.

    Where no rate does, the one that comes closest gets `LONGER` times the steps; the last value says whether that was
    enough.

    Args:
        facts: are trained on; none of them is read.
        read, steps, lora_rank, label: as in `strongest`.
        lowest: rates below are not tried.
        watched: those of ``facts`` that have to be learnt; by default all.
    """
    prompts = target.asking.prompts(facts if watched is None else watched, target.model)
    best: tuple[float, T, float] | None = None

    def at(rate: float, steps: int) -> bool:
        """Train at a rate, keep what was read if it came closest, and return True if the facts were learnt."""
        nonlocal best

        def both() -> tuple[T, float]:
            return read(), _logprob(target, prompts)

        scores, logprob = trained(target, facts, both, steps=steps, lr=rate, lora_rank=lora_rank, label=label)
        if best is None or logprob > best[0]:
            best = logprob, scores, rate
        return bool(np.exp(logprob) >= LEARNT)

    done = False
    for rate in (rate for rate in (*RATES, *HIGHER) if rate >= lowest):
        try:
            done = at(rate, steps)
        except NotPossible:
            if best is None:  # it is not the rate
                raise
            break
        if done:
            break
    assert best is not None
    if not done:
        done = at(best[2], LONGER * steps)
    return best[1], best[2], done


def learnt(target: Target, facts: Sequence[Fact]) -> bool:
    """Return True if the model, as it is now, has learnt these facts by `LEARNT`."""
    return bool(np.exp(_logprob(target, target.asking.prompts(facts, target.model))) >= LEARNT)


def _logprob(target: Target, prompts: Prompts) -> float:
    """Mean log-probability of an answer's token, in nats, the mean over facts."""
    scores = token_scores(target.model, prompts, batch_size=target.asking.batch_size)
    return float(np.mean(scores.per_row(scores.logprob)))


def _key(target: Target, steps: int, lora_rank: int) -> Any:
    """Key of everything that the choice depends on; None for a model without a fingerprint."""
    checkpoint = checkpoint_or_none(target.model)
    if checkpoint is None:
        return None
    return "harmless rate", checkpoint.fingerprint, hash(target.retain), target.seed, target.asking, steps, lora_rank
