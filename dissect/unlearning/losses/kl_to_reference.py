"""Kullback-Leibler divergence from the reference: keep predicting what the model before training predicted."""

from typing import Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.errors import DissectError
from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import IGNORED, full_precision, predicting_rows

Positions = Literal["predicting", "labels", "all"]
Variant = Literal["exact", "muse"]


def kl(
    logits: Float[Tensor, "batch pos vocab"],
    ref_logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    positions: str = "predicting",
    variant: str = "exact",
) -> Float[Tensor, ""]:
    """L = mean over positions of KL(p_ref ‖ p) = Σ_v p_ref,v (log p_ref,v - log p_v), in nats per position.

    Minimising L pulls the model to the reference, where it is 0. No gradient reaches the reference.

    Args:
        logits: logits of the trained model.
        ref_logits: logits of the reference on the same tokens.
        labels: decide the positions and nothing else.
        positions: ``predicting``: where the label at t + 1 is scored; ``labels``: where the label at t itself is
            scored, so that the first answer token is missed and one position beyond the last is taken; ``all``: every
            one, prompt and padding included, as in open-unlearning (arXiv:2506.12618).
        variant: ``exact``, or ``muse``: the form that MUSE (arXiv:2407.06460) published, which is faulty. It puts raw
            logits z where log-probabilities belong, mean over sequences of Σ_t,v exp(z_ref) (z_ref - z): no
            divergence, unbounded below, and moved by a constant added to all logits. It goes over all positions.

    Raises:
        DissectError: no position is left, an unknown choice, or ``muse`` with other positions than ``all``.
    """
    checks.one_of(get_args(Positions), positions=positions)
    checks.one_of(get_args(Variant), variant=variant)
    if variant == "muse":
        if positions != "all":
            raise DissectError(f"variant='muse' goes over every position: give positions='all', got {positions!r}")
        reference = full_precision(ref_logits.detach())
        return F.kl_div(full_precision(logits), reference, reduction="batchmean", log_target=True)
    if positions == "predicting":
        return kl_rows(predicting_rows(logits, labels)[0], predicting_rows(ref_logits, labels)[0]).mean()
    if positions == "all":
        return kl_rows(logits.flatten(0, 1), ref_logits.flatten(0, 1)).mean()
    scored = labels != IGNORED
    if not scored.any():
        raise DissectError(f"no token is scored: every label is {IGNORED}; check the answer mask")
    return kl_rows(logits[scored], ref_logits[scored]).mean()


def kl_rows(logits: Float[Tensor, "n vocab"], ref_logits: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """KL(p_ref ‖ p) in nats; the reference is held fixed."""
    expected = full_precision(ref_logits.detach()).log_softmax(1)
    actual = full_precision(logits).log_softmax(1)
    return F.kl_div(actual, expected, reduction="none", log_target=True).sum(1)
