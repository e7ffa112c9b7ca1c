"""Rows of prompts: the positions of a micro-batch that predict something scored, and nothing else.

The unembedding is the largest matrix of a small model and answers are a fraction of the text, so objectives see these
rows alone; padding and prompt never reach the unembedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dissect.data.prompts import Prompts


@dataclass(frozen=True)
class PromptRows:
    """A micro-batch of right-padded texts, and its scored positions one after the other, text by text."""

    tokens: Int[Tensor, "batch pos"]
    where: Bool[Tensor, "batch pos"]
    """True at the positions t whose logits are read."""
    targets: Int[Tensor, " row"]
    """The token at t + 1 of each of them."""
    answer: Bool[Tensor, " row"]
    """True where that is an answer token; everywhere, unless the whole text is scored."""
    sequence: Int[Tensor, " row"]
    """The text that a row belongs to, from 0."""
    weights: Float[Tensor, " row"]
    """Weight of each row in a mean over tokens."""

    def to(self, device: torch.device) -> "PromptRows":
        """Return the same rows on another device."""
        return PromptRows(
            self.tokens.to(device),
            self.where.to(device),
            self.targets.to(device),
            self.answer.to(device),
            self.sequence.to(device),
            self.weights.to(device),
        )


def scored(prompts: Prompts, *, everywhere: bool) -> Bool[Tensor, "prompt pos"]:
    """Find the positions that predict an answer token, or with ``everywhere`` any token of the text; never padding."""
    if not everywhere:
        return prompts.predicting_mask
    return torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None] - 1


def rows_of(
    prompts: Prompts,
    indices: Sequence[int],
    *,
    everywhere: bool = False,
    own: bool = False,
    weights: Float[Tensor, "prompt pos"] | None = None,
) -> PromptRows:
    """Make one micro-batch of the prompts with these indices, as wide as its longest text.

    Args:
        everywhere: score every token of the texts and not only the answers.
        own: read the logits where an answer's tokens stand, and not where they are predicted.
        weights: weight of every token; 1 by default.
    """
    width = int(prompts.lengths[list(indices)].max())
    tokens = prompts.tokens[list(indices), :width]  # (batch, pos)
    where = scored(prompts, everywhere=everywhere)[list(indices), :width]  # (batch, pos), True where logits are read
    following = torch.zeros_like(where)  # (batch, pos), True at the tokens that are predicted: one to the right
    following[:, 1:] = where[:, :-1]
    if own:
        where = following
    token_weights = torch.ones(tokens.shape) if weights is None else weights[list(indices), :width]  # (batch, pos)
    return PromptRows(
        tokens=tokens,
        where=where,
        targets=tokens[following],
        answer=prompts.answer_mask[list(indices), :width][following],
        sequence=where.nonzero()[:, 0],  # (row), the text of each row
        weights=token_weights[following].float(),
    )
