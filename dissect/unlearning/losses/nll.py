"""Negative log-likelihood of the scored tokens: the measure that most objectives are built from."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses.flat_rows import IGNORED, nll_rows, predicting_rows


def token_nll(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """-log p(y_{t+1} | y_<=t) in nats at each position t that predicts a scored token, 0 elsewhere.

    Logits at t predict the label at t + 1, so the first label is never scored. Half-precision logits are taken in
    float32.
    """
    scored = labels[:, 1:] != IGNORED
    values = nll_rows(logits[:, :-1][scored], labels[:, 1:][scored])
    return values.new_zeros(scored.shape).masked_scatter(scored, values)


def sequence_nll(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Sum -log p over the scored tokens of each sequence, in nats, and count them.

    The ratio of the two is the mean of a sequence; the sums' total over the counts' total is `nll`, the mean over all
    tokens, which weighs a long answer more. Objectives differ in which of them they take.
    """
    return token_nll(logits, labels).sum(dim=1), (labels[:, 1:] != IGNORED).sum(dim=1)


def answer_nll(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Compute `sequence_nll` for objectives that are a mean over sequences, each of which needs an answer.

    Raises:
        DissectError: a sequence has no scored token.
    """
    sums, counts = sequence_nll(logits, labels)
    if (counts == 0).any():
        raise DissectError(
            f"no token is scored in sequence {int(counts.argmin())} of the batch: every label after the first is "
            f"{IGNORED}; check the answer mask"
        )
    return sums, counts


def nll(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Mean of -log p over all scored tokens of the batch, in nats per token; lowering it learns the labels.

    Raises:
        DissectError: no token is scored.
    """
    rows, targets, _ = predicting_rows(logits, labels)
    return nll_rows(rows, targets).mean()
