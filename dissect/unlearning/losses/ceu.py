"""Cross-entropy unlearning (CE-U; Yang 2025, arXiv:2503.01224): predict what one would, had the answer not existed."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import full_precision, scored_next, soft_rows


def ceu(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"], skip: int = 1) -> Float[Tensor, ""]:
    """L = mean over the scored tokens of -Σ_v q_v log p_v, q = softmax(sg[z] with z_y = -∞), in nats per token.

    Minimising L makes the forget answers less likely and leaves the proportions of the other tokens as they are: UnDIAL
    with γ → ∞ and the model itself as its teacher. sg lets no gradient through.

    Args:
        logits: z, the logits of the trained model.
        labels: the forget answers.
        skip: number of tokens at the start of each answer that are left out.

    Raises:
        DissectError: no token is scored, or none is left after ``skip``, or that is negative.
    """
    checks.count(0, skip=skip)
    scored = scored_next(labels)
    kept = scored & (scored.cumsum(1) > skip)
    if not kept.any():
        raise DissectError(
            f"skip={skip}: the longest answer has {int(scored.sum(1).max())} tokens, so that none is left"
        )
    return ceu_rows(logits[:, :-1][kept], labels[:, 1:][kept]).mean()


def ceu_rows(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy in nats to the model's own distribution without the target."""
    others = full_precision(logits.detach()).scatter(1, targets[:, None], -float("inf"))
    return soft_rows(logits, others.softmax(1))
