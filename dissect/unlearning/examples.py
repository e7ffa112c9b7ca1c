"""From prompts to training batches, with logits on the answers alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.forward import final_residual, read_out

IGNORED = -100
"""Label of a token that is not scored."""


@dataclass(frozen=True)
class Examples:
    """Right-padded texts; ``labels`` are the tokens of the answers and ``IGNORED`` elsewhere."""

    tokens: Int[Tensor, "batch pos"]
    labels: Int[Tensor, "batch pos"]


def examples(prompts: Prompts, indices: list[int], device: torch.device) -> Examples:
    """The prompts with these indices as one batch, padded to its own longest text."""
    width = int(prompts.lengths[indices].max())
    tokens = prompts.tokens[indices, :width]
    labels = tokens.masked_fill(~prompts.answer_mask[indices, :width], IGNORED)
    return Examples(tokens.to(device), labels.to(device))


def answer_logits(
    model: HookedTransformer, batch: Examples
) -> tuple[Float[Tensor, "batch answer d_vocab"], Int[Tensor, "batch answer"]]:
    """Logits and labels with every position left out that predicts nothing scored.

    The rows are packed to the left, so that logits at t still predict the label at t + 1: an objective that ignores
    unscored positions has the same value and gradient on them as on the whole texts, at a fraction of the memory.
    """
    predicting = torch.zeros_like(batch.labels, dtype=torch.bool)
    predicting[:, :-1] = batch.labels[:, 1:] != IGNORED
    counts = predicting.sum(1)
    # Stable sort: the scored positions come first and keep their order.
    order = (~predicting).int().argsort(dim=1, stable=True)[:, : int(counts.max()) + 1]
    residual = final_residual(model, batch.tokens)
    chosen = residual.gather(1, order[..., None].expand(-1, -1, residual.shape[-1]))
    packed = torch.full_like(order, IGNORED)
    inside = torch.arange(order.shape[1] - 1, device=order.device)[None] < counts[:, None]
    following = (order[:, :-1] + 1).clamp(max=batch.labels.shape[1] - 1)
    packed[:, 1:] = batch.labels.gather(1, following).masked_fill(~inside, IGNORED)
    return read_out(model, chosen), packed
