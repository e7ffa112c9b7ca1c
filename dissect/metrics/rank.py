"""Rank of the answer's tokens in the vocabulary."""

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.metrics.metric import Metric, Scored


def rank(scored: Scored) -> Float[Tensor, " scored"]:
    """The place of the answer's token when the vocabulary is sorted by falling logit; the most likely token has rank 1.

    1 + number of tokens that come before it: those with a higher logit, and of those with an equal one the lower ids.
    So rank 1 is what greedy decoding takes.
    """
    own = scored.logits.gather(-1, scored.targets[:, None])
    ids = torch.arange(scored.logits.shape[-1], device=scored.logits.device)
    before = (scored.logits > own) | ((scored.logits == own) & (ids < scored.targets[:, None]))
    return 1 + before.sum(-1, dtype=scored.logits.dtype)


METRIC = Metric(
    name="rank", label="rank of the answer's tokens (1: most likely)", score=rank, needs_targets=True, smooth=False
)
"""The mean over the answer's positions; between 1 and the size of the vocabulary."""
