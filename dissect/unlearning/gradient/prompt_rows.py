"""From prompts to rows: the positions of a micro-batch that predict something scored, and nothing else.

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
class Rows:
    """A micro-batch of right-padded texts, and its scored positions one after the other, text by text."""

    tokens: Int[Tensor, "batch pos"]
    where: Bool[Tensor, "batch pos"]
    """True at the positions t whose logits are read."""
    targets: Int[Tensor, "row"]
    """The token at t + 1 of each of them."""
    answer: Bool[Tensor, "row"]
    """Whether that is an answer token; always, unless the whole text is scored."""
    sequence: Int[Tensor, "row"]
    """The text that a row belongs to, from 0."""
    weights: Float[Tensor, "row"]
    """Of each row in a mean over tokens."""

    def to(self, device: torch.device) -> "Rows":
        """On another device."""
        return Rows(
            self.tokens.to(device),
            self.where.to(device),
            self.targets.to(device),
            self.answer.to(device),
            self.sequence.to(device),
            self.weights.to(device),
        )


def scored(prompts: Prompts, *, everywhere: bool) -> Bool[Tensor, "prompt pos"]:
    """Positions that predict an answer token, or with ``everywhere`` any token of the text; never padding."""
    if not everywhere:
        return prompts.predicting_mask
    return torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None] - 1


def rows_of(
    prompts: Prompts,
    indices: Sequence[int],
    *,
    everywhere: bool = False,
    weights: Float[Tensor, "prompt pos"] | None = None,
) -> Rows:
    """The prompts with these indices as one micro-batch, as wide as its longest text.

    Args:
        everywhere: score every token of the texts and not only the answers.
        weights: of every token; 1 by default.
    """
    width = int(prompts.lengths[list(indices)].max())
    tokens = prompts.tokens[list(indices), :width]
    where = scored(prompts, everywhere=everywhere)[list(indices), :width]
    following = torch.zeros_like(where)  # True at the tokens that are predicted
    following[:, 1:] = where[:, :-1]
    chosen = torch.ones(tokens.shape) if weights is None else weights[list(indices), :width]
    return Rows(
        tokens=tokens,
        where=where,
        targets=tokens[following],
        answer=prompts.answer_mask[list(indices), :width][following],
        sequence=where.nonzero()[:, 0],
        weights=chosen[following].float(),
    )
