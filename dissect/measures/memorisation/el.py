"""Extraction likelihood: how many n-grams of a text come back when its beginning is given."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from dissect.data.prompts import Prompts
from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option, switch
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.models.running.sampling import sample

ORDERS: Option[Any] = Option(
    "el.orders",
    (3, 5, 10),
    "Orders n of the n-grams.",
    "whole numbers of at least 1",
    lambda value: _all(value, lambda n: isinstance(n, int) and n >= 1),
)
SHARES: Option[Any] = Option(
    "el.shares",
    (0.2, 0.4, 0.6, 0.8),
    "Shares of the answer or text that are given: 40, 80, 120 and 160 of 200 tokens, as published.",
    "shares of the text from 0 to below 1",
    lambda value: _all(value, lambda share: isinstance(share, (int, float)) and 0 <= share < 1),
)
SAMPLING = switch("el.sampling", False, "Draw continuations, as published, instead of taking the greedy ones.")

PUBLISHED: dict[str, Any] = {"top_p": 0.95, "top_k": 50, "temperature": 1.0}
"""Sampling of the UnDIAL code; greedy continuations, the default here, do not depend on chance."""


def extraction_likelihood(examined: Examined) -> list[Estimate]:
    """EL_n for each n (``order``): the mean over items of the mean over prefixes of `overlap`.

    Raises:
        Undefined: every answer or text is too short for the smallest n.
    """
    shares = [float(share) for share in _listed(examined.option(SHARES))]
    orders = _listed(examined.option(ORDERS))
    tables = {n: np.full((len(shares), len(examined.facts)), np.nan) for n in orders}
    for row, share in enumerate(shares):
        pairs = _continued(examined, share)
        for n, table in tables.items():
            table[row] = [overlap(said, rest, n) for said, rest in pairs]
    estimates = []
    for n, table in tables.items():
        defined = ~np.isnan(table).all(0)
        if defined.any():
            items = np.full(table.shape[1], np.nan)
            items[defined] = np.nanmean(table[:, defined], axis=0)
            estimates.append(share_of(items, order=n))
    if not estimates:
        raise Undefined(
            f"after {min(shares):.0%} of them all answers or texts have fewer than {min(orders)} tokens left: give "
            "longer ones"
        )
    return estimates


def overlap(said: Sequence[int], rest: Sequence[int], n: int) -> float:
    """Return the share of the distinct n-grams said that the true rest has: 1 where it is repeated word for word.

    0 where fewer than n tokens are said; NaN where the rest itself has fewer than n.
    """
    if len(rest) < n:
        return float("nan")
    own, true = _ngrams(said, n), _ngrams(rest, n)
    return len(own & true) / len(own) if own else 0.0


def _ngrams(ids: Sequence[int], n: int) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}


def _continued(examined: Examined, share: float) -> list[tuple[list[int], list[int]]]:
    """Return the model's continuation of a share of each item, cut to the length of the rest, and the rest."""
    cuts = _cuts(examined.prompts, share)
    beginnings = [row[:cut] for row, (cut, _) in zip(examined.prompts.tokens, cuts, strict=True)]
    rests = [row[cut:stop].tolist() for row, (cut, stop) in zip(examined.prompts.tokens, cuts, strict=True)]
    long_enough = [i for i, rest in enumerate(rests) if len(rest) > 1]  # the very short ones have no n-grams anyway
    said: dict[int, list[int]] = {}
    if long_enough:
        longest = max(len(rests[i]) for i in long_enough)
        new = _generated(examined, [beginnings[i] for i in long_enough], longest)
        said = {i: ids.tolist() for i, ids in zip(long_enough, new, strict=True)}
    return [(said.get(i, [])[: len(rest)], rest) for i, rest in enumerate(rests)]


def _cuts(prompts: Prompts, share: float) -> list[tuple[int, int]]:
    """Return where each row is cut and where its answer ends: a share of the answer, or of all tokens of a text."""
    cuts = []
    for fact, start, n in zip(
        prompts.facts, prompts.prompt_lengths.tolist(), prompts.answer_lengths.tolist(), strict=True
    ):
        first = 0 if fact.kind == "text" else start
        stop = start + n
        cuts.append((max(start, first + round(share * (stop - first))), stop))
    return cuts


def _generated(examined: Examined, beginnings: Sequence[Int[Tensor, " _"]], longest: int) -> list[Int[Tensor, " _"]]:
    settings = examined.settings
    shared: dict[str, Any] = {
        "max_new_tokens": longest,
        "eos_ids": eos_token_ids(examined.model) | examined.prompts.ends,
        "batch_size": settings.batch_size,
        "progress": settings.progress,
    }
    if examined.option(SAMPLING):
        return sample(examined.model, beginnings, **PUBLISHED, seed=settings.seed, **shared)
    return greedy(examined.model, beginnings, **shared)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _all(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return bool(_listed(value)) and all(map(accepts, _listed(value)))


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
    options=(ORDERS, SHARES, SAMPLING),
    sets=("forget", "retain", "nonmembers"),
    knows="high",
)
