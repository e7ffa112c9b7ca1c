"""At which token positions activations are swapped."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dissect.data.prompts import Prompts
from dissect.errors import DissectError

SPANS = ("all", "prompt", "answer", "predicting", "last_prompt", "subject")
"""``all`` positions; those of the ``prompt`` or of the ``answer``; those ``predicting`` an answer token; the
``last_prompt`` token; the ``subject`` of the question."""

Where = str | int
"""One of ``SPANS``, or a single position, counted from the first token of the answer: 0 is that token, -1 the last
token of the prompt. So positions of the same role are compared between prompts of unequal length."""


def mask(where: Where, prompts: Prompts) -> Bool[Tensor, "prompt pos"]:
    """True at the positions meant.

    Raises:
        DissectError: a span that does not exist.
    """
    if isinstance(where, int):
        return (offsets(prompts) == where) & inside(prompts)
    if where == "all":
        return inside(prompts)
    if where == "prompt":
        return prompts.prompt_mask
    if where == "answer":
        return prompts.answer_mask
    if where == "predicting":
        return prompts.predicting_mask
    if where == "last_prompt":
        return offsets(prompts) == -1
    if where == "subject":
        return prompts.subject_mask
    raise DissectError(f"no positions {where!r}: choose from {', '.join(SPANS)}, each, or whole numbers")


def inside(prompts: Prompts) -> Bool[Tensor, "prompt pos"]:
    """True at every token, False on the padding."""
    return torch.arange(prompts.tokens.shape[1])[None] < prompts.lengths[:, None]


def offsets(prompts: Prompts) -> Int[Tensor, "prompt pos"]:
    """Each position counted from the first token of the answer."""
    return torch.arange(prompts.tokens.shape[1])[None] - prompts.prompt_lengths[:, None]


def single_positions(wanted: str | Sequence[int], prompts: Prompts) -> list[int]:
    """The offsets that ``positions="each"`` or a list of numbers stands for, in order.

    ``each`` takes every offset that some prompt has; a prompt that has no such position is left out there.

    Raises:
        DissectError: an offset that some prompt does not have.
    """
    first, end = -prompts.prompt_lengths, prompts.lengths - prompts.prompt_lengths
    if wanted == "each":
        return list(range(int(first.min()), int(end.max())))
    offsets = [int(offset) for offset in wanted]
    for offset in offsets:
        if not int(first.max()) <= offset < int(end.min()):
            raise DissectError(
                f"some prompt has no position {offset}: all have {int(first.max())} to {int(end.min()) - 1}, counted "
                "from the first token of the answer"
            )
    if not offsets or len(set(offsets)) != len(offsets):
        raise DissectError(f"positions={offsets}: name at least one, and none twice")
    return offsets


def check_span(where: Where, prompts: Prompts) -> None:
    """Refuse a span that does not exist, or that is empty in some prompt."""
    empty = (~mask(where, prompts).any(1)).nonzero()[:, 0].tolist()
    if empty:
        raise DissectError(
            f"prompt {empty[0]} ({prompts.prompt_texts[empty[0]]!r:.60}) has no {where!r} positions"
            + (": give its fact a 'subject'" if where == "subject" else "")
        )
