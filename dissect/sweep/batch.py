"""Prompts cut into batches on the recipient's device, with the positions that are scored."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dissect.data.prompts import Prompts
from dissect.errors import DissectError

SCORINGS = ("answer", "published")
"""``answer``: the positions that predict the answer's tokens. ``published``: the window of the published notebooks,
``logits[-n:]`` with their count n, which takes in the prediction after the last token and leaves out at least the
first answer token (science of the paper's section 3; kept to reproduce its numbers, not to be used)."""

NO_TARGET = -100


@dataclass(frozen=True, eq=False)
class Batch:
    """Some prompts, ready to run. Logits are read at the ``scored`` positions, row by row."""

    index: int
    """Number of the batch in its sweep: the key under which donors keep its activations."""
    place: slice
    """Position of these prompts in the sweep."""
    prompts: Prompts
    """They themselves, on the CPU, as wide as the longest of them."""
    tokens: Int[Tensor, "batch pos"]
    """Right-padded."""
    scored: Bool[Tensor, "batch pos"]
    """Positions whose logits are scored."""
    rows: Int[Tensor, " scored"]
    """The row that each scored position belongs to."""
    targets: Int[Tensor, " scored"]
    """The token that each scored position should predict; ``NO_TARGET`` after the last token of a text."""
    foils: Int[Tensor, " scored"] | None = None
    """A wrong answer's token at the position where it parts from the answer, -100 elsewhere; see ``data.foils``."""


def batches(
    prompts: Prompts,
    batch_size: int,
    *,
    scoring: str = "answer",
    foils: Int[Tensor, "prompt pos"] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Cut ``prompts`` in their order into batches of ``batch_size``, each padded to its own longest row.

    ``foils`` are those of ``dissect.data.foils.foil_targets``, if something asks for them.
    """
    scored = scored_positions(prompts, scoring)
    for index, start in enumerate(range(0, len(prompts), batch_size)):
        rows = slice(start, min(start + batch_size, len(prompts)))
        part = prompts[rows]
        where = scored[rows, : part.tokens.shape[1]]
        yield Batch(
            index=index,
            place=rows,
            prompts=part,
            tokens=part.tokens.to(device),
            scored=where.to(device),
            rows=where.nonzero()[:, 0].to(device),
            targets=_following(part)[where].to(device),
            foils=None if foils is None else foils[rows, : part.tokens.shape[1]][where].to(device),
        )


def scored_positions(prompts: Prompts, scoring: str) -> Bool[Tensor, "prompt pos"]:
    """Mask of the positions whose logits are compared; see ``SCORINGS``.

    Raises:
        DissectError: an unknown scoring, or prompts for which the published window is empty.
    """
    if scoring == "answer":
        return prompts.predicting_mask
    if scoring != "published":
        raise DissectError(f"no scoring {scoring!r}: choose from {', '.join(SCORINGS)}")
    counts = prompts.published_counts()
    positions = torch.arange(prompts.tokens.shape[1])[None]
    end = prompts.lengths[:, None]
    return (positions < end) & (positions >= end - counts[:, None])


def _following(prompts: Prompts) -> Int[Tensor, "prompt pos"]:
    """The token after each position, ``NO_TARGET`` from the last one of a text on."""
    following = torch.full_like(prompts.tokens, NO_TARGET)
    following[:, :-1] = prompts.tokens[:, 1:]
    inside = torch.arange(prompts.tokens.shape[1])[None] < (prompts.lengths - 1)[:, None]
    return following.masked_fill(~inside, NO_TARGET)
