"""Flat rows: the positions that predict a scored token, with the padding left out, and what is measured on each.

Every objective is a mean over rows, or over sequences of their rows' sums. A caller that has gathered the rows may
take them in chunks, so that no more than one chunk is held in float32.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.errors import DissectError

IGNORED = -100
"""The label of a token that is not scored."""


def predicting_rows(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "n vocab"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The logits at each position t whose next label, at t + 1, is scored; that label; and the sequence it stands in.

    Sequence by sequence, and from left to right in each.

    Raises:
        DissectError: no token is scored.
    """
    scored = scored_next(labels)
    return logits[:, :-1][scored], labels[:, 1:][scored], scored.nonzero()[:, 0]


def scored_next(labels: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos-1"]:
    """True at each position but the last whose next label is scored.

    Raises:
        DissectError: there is none.
    """
    scored = labels[:, 1:] != IGNORED
    if not scored.any():
        raise DissectError(f"no token is scored: every label after the first is {IGNORED}; check the answer mask")
    return scored


def full_precision(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The values in float32, or as they are in float64: a sum over a vocabulary in bfloat16 has about 2 digits."""
    return values if values.dtype == torch.float64 else values.float()


def nll_rows(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """-log p(target) in nats."""
    return F.cross_entropy(full_precision(logits), targets, reduction="none")


def soft_rows(logits: Float[Tensor, "n vocab"], q: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Cross-entropy -Σ_v q_v log p_v in nats; lowering it moves p to q, where it is the entropy of q, not 0."""
    return -(q * full_precision(logits).log_softmax(1)).sum(1)
