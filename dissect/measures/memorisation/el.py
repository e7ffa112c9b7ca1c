"""Extraction likelihood: how many n-grams of a text come back when its beginning is given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from dissect.data.prompts import Prompts
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.models.running.sampling import sample

ORDERS = (3, 5, 10)
SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of a text that are given: 40, 80, 120 and 160 of 200 tokens, as published."""

PUBLISHED: dict[str, Any] = {"top_p": 0.95, "top_k": 50, "temperature": 1.0}
"""How the UnDIAL code draws continuations; greedy ones, the default here, do not depend on chance."""


def extraction_likelihood(subject: Subject) -> list[Estimate]:
    """EL_n for each n (``order``): the mean over items of the mean over prefixes of `overlap`.

    Raises:
        Undefined: every answer or text is too short for the smallest n.
    """
    shares = _shares(subject.option("el.shares", SHARES))
    orders = _orders(subject.option("el.orders", ORDERS))
    tables = {n: np.full((len(shares), len(subject.facts)), np.nan) for n in orders}
    for place, share in enumerate(shares):
        pairs = _continued(subject, share)
        for n, table in tables.items():
            table[place] = [overlap(said, rest, n) for said, rest in pairs]
    found = []
    for n, table in tables.items():
        defined = ~np.isnan(table).all(0)
        if defined.any():
            items = np.full(table.shape[1], np.nan)
            items[defined] = np.nanmean(table[:, defined], axis=0)
            found.append(mean_of(items, seed=subject.settings.seed, order=n))
    if not found:
        raise Undefined(
            f"after {min(shares):.0%} of them all answers or texts have fewer than {min(orders)} tokens left: give "
            "longer ones"
        )
    return found


def overlap(said: Sequence[int], rest: Sequence[int], n: int) -> float:
    """Of the different n-grams that were said, the share that the true rest has: 1 where it is said word for word.

    0 where fewer than n tokens are said; NaN where the rest itself has fewer than n.
    """
    if len(rest) < n:
        return float("nan")
    own, true = _ngrams(said, n), _ngrams(rest, n)
    return len(own & true) / len(own) if own else 0.0


def _ngrams(ids: Sequence[int], n: int) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}


def _continued(subject: Subject, share: float) -> list[tuple[list[int], list[int]]]:
    """What the model says after a share of each item, no longer than what is left of it, and what is left."""
    cuts = _cuts(subject.prompts, share)
    given = [row[:cut] for row, (cut, _) in zip(subject.prompts.tokens, cuts, strict=True)]
    rests = [row[cut:stop].tolist() for row, (cut, stop) in zip(subject.prompts.tokens, cuts, strict=True)]
    asked = [i for i, rest in enumerate(rests) if len(rest) > 1]  # the very short ones have no n-grams anyway
    said: dict[int, list[int]] = {}
    if asked:
        longest = max(len(rests[i]) for i in asked)
        new = _generated(subject, [given[i] for i in asked], longest)
        said = {i: ids.tolist() for i, ids in zip(asked, new, strict=True)}
    return [(said.get(i, [])[: len(rest)], rest) for i, rest in enumerate(rests)]


def _cuts(prompts: Prompts, share: float) -> list[tuple[int, int]]:
    """Where each row is cut, and where its answer ends: a share of the answer is given, of a text of all its tokens."""
    cuts = []
    for fact, start, n in zip(
        prompts.facts, prompts.prompt_lengths.tolist(), prompts.answer_lengths.tolist(), strict=True
    ):
        first = 0 if fact.kind == "text" else start
        stop = start + n
        cuts.append((max(start, first + round(share * (stop - first))), stop))
    return cuts


def _generated(subject: Subject, given: Sequence[Int[Tensor, "_"]], longest: int) -> list[Int[Tensor, "_"]]:
    how, sampled = subject.settings, subject.option("el.sampling", False)
    if not isinstance(sampled, bool):
        raise DissectError(f"el.sampling must be true (as published) or false (greedy), got {sampled!r}")
    shared: dict[str, Any] = {
        "max_new_tokens": longest,
        "eos_ids": eos_token_ids(subject.model),
        "batch_size": how.batch_size,
        "progress": how.progress,
    }
    if sampled:
        return sample(subject.model, given, **PUBLISHED, seed=how.seed, **shared)
    return greedy(subject.model, given, **shared)


def _shares(value: Any) -> list[float]:
    shares = list(value) if isinstance(value, (list, tuple)) else [value]
    if not shares or not all(isinstance(s, (int, float)) and 0 <= s < 1 for s in shares):
        raise DissectError(f"el.shares must be shares of the text from 0 to below 1, got {value!r}")
    return [float(share) for share in shares]


def _orders(value: Any) -> list[int]:
    orders = list(value) if isinstance(value, (list, tuple)) else [value]
    if not orders or not all(isinstance(n, int) and n >= 1 for n in orders):
        raise DissectError(f"el.orders must be whole numbers of at least 1, got {value!r}")
    return orders


MEASURE = Measure(
    name="el",
    label="extraction likelihood (EL)",
    definition=(
        "EL_n: of the different n-grams that the model says greedily (el.sampling: drawn, as published) after the "
        "first 20, 40, 60 and 80 % (el.shares) of an "
        "answer or text, the share that occurs in what truly follows; mean over prefixes, then over all items that "
        "have n tokens left (Jang et al. 2023, with sets of n-grams as in the UnDIAL code)"
    ),
    family="memorisation",
    compute=extraction_likelihood,
    sets=("forget", "retain", "nonmembers"),
    knows="high",
)
