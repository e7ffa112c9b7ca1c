"""Score matrices: S_ij = log p(a_j | q_i), every question against every answer of its sheet."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformer_lens import HookedTransformer

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.models.running.branching import branched_logprobs
from dissect.models.running.forward import final_residual, logits_at
from dissect.models.running.kv_cache import can_decode
from dissect.models.sharding.sharded import is_sharded
from dissect.pairing.asking import Asking
from dissect.pairing.block import AS_ASKED, Question, Sheet
from dissect.undoing.gradient_mode import without_gradients

Change = Callable[[Question], Sequence[Question]]
"""From a question to those that are truly asked in its place."""
Cell = tuple[int, int, int]
"""Sheet, row, column."""


def score_sheets(
    model: HookedTransformer,
    sheets: Sequence[Sheet],
    asking: Asking,
    *,
    wording: str = AS_ASKED,
    change: Change | None = None,
    memo: dict[Any, Any] | None = None,
) -> list[Float[np.ndarray, "_ _"]]:
    """S_ij = log p(a_j | q_i), summed over the answer's tokens, natural log; the mean over several wordings.

    Logits are float32 at least, sums float64. The prefix that the answers to a question share is run once; a model
    with hooks, or of a kind that the decoder does not know, runs every text whole.

    Args:
        wording: see `WORDINGS`.
        change: makes other questions of each.
        memo: keeps tokens from call to call; used where there is no ``change``.

    Returns:
        One matrix a sheet; NaN where nothing was asked.

    Raises:
        DissectError: a text that the tokenizer or the context does not take.
    """
    key = ("tokens", wording, asking, tuple(map(id, sheets)), id(model.tokenizer))
    if memo is not None and change is None and key in memo:
        prompts, cells, lists = memo[key]
    else:
        prompts, cells, lists = _tokenised(model, sheets, asking, wording, change)
        if memo is not None and change is None:
            memo[key] = prompts, cells, lists
    logprobs = _logprobs(model, prompts, lists, asking.batch_size) if cells else []
    sums = [np.zeros(sheet.shape) for sheet in sheets]
    counts = [np.zeros(sheet.shape) for sheet in sheets]
    for (sheet, row, column), value in zip(cells, logprobs, strict=True):
        sums[sheet][row, column] += value
        counts[sheet][row, column] += 1
    with np.errstate(invalid="ignore"):
        return [total / count for total, count in zip(sums, counts, strict=True)]


def _tokenised(
    model: HookedTransformer, sheets: Sequence[Sheet], asking: Asking, wording: str, change: Change | None
) -> tuple[Prompts | None, list[Cell], list[range]]:
    """All texts as prompts, the cell of each, and which of them are answers to one question."""
    facts: list[Fact] = []
    cells: list[Cell] = []
    lists: list[range] = []
    for number, sheet in enumerate(sheets):
        for ask in sheet.asks:
            for question in ask.asked(wording):
                for changed in (question,) if change is None else change(question):
                    lists.append(range(len(facts), len(facts) + len(ask.answers)))
                    facts.extend(changed.answered(text) for text in ask.answers)
                    cells.extend((number, ask.row, column) for column in ask.columns)
    return (asking.prompts(facts, model) if facts else None), cells, lists


def _logprobs(model: HookedTransformer, prompts: Prompts, lists: Sequence[range], batch_size: int) -> list[float]:
    """log p of each prompt's answer."""
    if is_sharded(model) or not can_decode(model):
        return whole_logprobs(model, prompts, batch_size)
    masks = prompts.answer_mask
    starts = masks.int().argmax(dim=1)
    stops = starts + masks.sum(dim=1)
    ids = [row[:stop] for row, stop in zip(prompts.tokens.tolist(), stops.tolist(), strict=True)]
    first = starts.tolist()
    branches = branched_logprobs(
        model, [[ids[i] for i in rows] for rows in lists], [[first[i] for i in rows] for rows in lists], batch_size
    )
    return [value for values in branches for value in values]


@without_gradients()
def whole_logprobs(model: HookedTransformer, prompts: Prompts, batch_size: int) -> list[float]:
    """log p of each prompt's answer by whole passes, every hook firing at every position."""
    device = model.embed.W_E.device
    sums: list[float] = []
    for part in prompts.batches(batch_size):
        where = part.predicting_mask
        logits = logits_at(model, final_residual(model, part.tokens.to(device)), where.to(device))
        targets = part.tokens[part.answer_mask].to(device)
        own = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double().cpu()
        rows = part.answer_mask.nonzero()[:, 0]
        sums.extend(torch.zeros(len(part), dtype=torch.float64).index_add_(0, rows, own).tolist())
    return sums
