"""Weighted gradient ascent (WGA; Wang et al. 2025, arXiv:2502.19301): ascend most where the model is sure."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import nll_rows, predicting_rows


def wga(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"], beta: float = 1.0
) -> Float[Tensor, ""]:
    """L = -mean over the scored tokens of sg[p_t^β] · (-log p_t), in nats per token; sg lets no gradient through.

    Minimising L makes the forget answers less likely, an unlikely token ever more slowly; β > 0, and towards 0 it is
    gradient ascent. The value, unlike the gradient, is not monotone: it rises to 0 as p_t falls to 0.

    Raises:
        DissectError: no token is scored, or β is out of range.
    """
    rows, targets, _ = predicting_rows(logits, labels)
    return wga_rows(rows, targets, beta).mean()


def wga_rows(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], beta: float = 1.0) -> Float[Tensor, " n"]:
    """-sg[p^β] · (-log p) of each target, in nats.

    Raises:
        DissectError: β is out of range.
    """
    checks.positive(beta=beta)
    nll = nll_rows(logits, targets)
    return -(-beta * nll.detach()).exp() * nll
