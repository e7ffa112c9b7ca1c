"""Negative log-likelihood of the scored tokens: the measure that most objectives are built from."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.errors import DissectError

IGNORED = -100
"""The label of a token that is not scored."""


def token_nll(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """-log p(y_{t+1} | y_<=t) in nats at each position t that predicts a scored token, 0 elsewhere.

    Logits at t predict the label at t + 1, so the first label is never scored. Half-precision logits are taken in
    float32: a sum over a vocabulary in bfloat16 has about 2 correct digits.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    per_token = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    return per_token.view(labels.shape[0], labels.shape[1] - 1)


def sequence_nll(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch"], Int[Tensor, "batch"]]:
    """Per sequence: the sum of -log p over its scored tokens in nats, and how many they are.

    The ratio of the two is the mean of a sequence; the sums' total over the counts' total is `nll`, the mean over all
    tokens, which weighs a long answer more. Objectives differ in which of them they take.
    """
    return token_nll(logits, labels).sum(dim=1), (labels[:, 1:] != IGNORED).sum(dim=1)


def nll(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Mean of -log p over all scored tokens of the batch, in nats per token; lowering it learns the labels.

    Raises:
        DissectError: no token is scored.
    """
    sums, counts = sequence_nll(logits, labels)
    total = counts.sum()
    if total == 0:
        raise DissectError(f"no token is scored: every label after the first is {IGNORED}; check the answer mask")
    return sums.sum() / total
