"""Gradient ascent (GA; Jang et al. 2023, arXiv:2210.01504): make the forget answers less likely."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.unlearning.losses.nll import nll


def gradient_ascent(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """L = -mean over the scored tokens of -log p(y_{t+1} | y_<=t), in nats per token.

    Minimising L raises the negative log-likelihood of the forget answers; L is at most 0 and has no lower bound.

    Raises:
        DissectError: no token is scored.
    """
    return -nll(logits, labels)
