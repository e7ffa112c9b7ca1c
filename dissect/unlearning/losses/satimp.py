"""SatImp (Yang et al. 2025, arXiv:2505.11953): gradient ascent weighted by saturation and by importance."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import nll_rows, predicting_rows


def satimp(
    logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"], beta1: float = 5.0, beta2: float = 1.0
) -> Float[Tensor, ""]:
    """L = -mean over the scored tokens of sg[p_t^β1 (1 - p_t)^β2] · (-log p_t), in nats per token.

    Minimising L makes the forget answers less likely; tokens that are unlikely already weigh little (β1), and so do
    those the model is certain of (β2). sg lets no gradient through. An exponent of 0 leaves its weight out.

    Raises:
        DissectError: no token is scored, or an exponent is negative or not finite.
    """
    rows, targets, _ = predicting_rows(logits, labels)
    return satimp_rows(rows, targets, beta1, beta2).mean()


def satimp_rows(
    logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], beta1: float = 5.0, beta2: float = 1.0
) -> Float[Tensor, " n"]:
    """-sg[p^β1 (1 - p)^β2] · (-log p) of each target, in nats.

    Raises:
        DissectError: an exponent is negative or not finite.
    """
    checks.not_negative(beta1=beta1, beta2=beta2)
    nll = nll_rows(logits, targets)
    fixed = nll.detach()
    return -(-beta1 * fixed).exp() * (-(-fixed).expm1()) ** beta2 * nll
