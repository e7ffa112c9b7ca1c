"""Gradient difference (Liu et al. 2022, arXiv:2203.12817): ascend on what to forget, descend on what to keep."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.gradient_ascent import gradient_ascent
from dissect.unlearning.losses.nll import nll


def gradient_difference(
    logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    retain_logits: Float[Tensor, "retain retain_pos vocab"],
    retain_labels: Int[Tensor, "retain retain_pos"],
    gamma: float = 1.0,
    alpha: float = 1.0,
) -> Float[Tensor, ""]:
    """L = γ · GA(forget) + α · NLL(retain), in nats per token, each a mean over the scored tokens of its own side.

    Minimising L makes the forget answers less likely and the retained ones more; like gradient ascent it has no lower
    bound. γ and α are the weights as open-unlearning (arXiv:2506.12618) names them, both 1; ConceptVectors
    (arXiv:2406.11614) trained with α = 1.5.

    Raises:
        DissectError: no token of a side is scored, or a weight is negative or not finite.
    """
    checks.not_negative(gamma=gamma, alpha=alpha)
    return gamma * gradient_ascent(logits, labels) + alpha * nll(retain_logits, retain_labels)
