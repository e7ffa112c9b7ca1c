"""Negative preference optimisation (NPO; Zhang et al. 2024, arXiv:2404.05868): DPO with a dispreferred answer only."""

from typing import Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import full_precision
from dissect.unlearning.losses.nll import answer_nll

Variant = Literal["sum", "mean", "muse"]


def npo(
    logits: Float[Tensor, "batch pos vocab"],
    ref_logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    beta: float = 0.1,
    variant: str = "sum",
) -> Float[Tensor, ""]:
    """L = -(2/β) mean over sequences of log σ(-β log(π_θ(y|x) / π_ref(y|x))), in nats.

    Minimising L makes the forget answers less likely than the reference has them. L is (2/β) ln 2 at the reference,
    where its gradient is that of gradient ascent on the summed NLL, and falls to 0, so that an answer which
    is forgotten already no longer moves the weights.

    Args:
        logits: logits of the trained model.
        ref_logits: logits of the model before training on the same tokens; no gradient reaches it.
        labels: the forget answers.
        beta: β > 0; towards 0 the objective becomes gradient ascent.
        variant: ``sum``: log π is the sum over the answer's tokens, as in the paper; ``mean``: their mean; ``muse``:
            what MUSE (arXiv:2407.06460) published, which is faulty: raw logits in place of log π, averaged over
            the whole vocabulary and all positions, padding included, with no part for the labels.

    Raises:
        DissectError: a sequence has no scored token, β is out of range, or the variant is unknown.
    """
    checks.positive(beta=beta)
    checks.one_of(get_args(Variant), variant=variant)
    if variant == "muse":
        margin = full_precision(ref_logits.detach()) - full_precision(logits)
        return -2 / beta * F.logsigmoid(beta * margin).mean()
    sums, counts = answer_nll(logits, labels)
    ref_sums, _ = answer_nll(ref_logits, labels)
    if variant == "mean":
        sums, ref_sums = sums / counts, ref_sums / counts
    return npo_sequences(sums, ref_sums, beta).mean()


def npo_sequences(
    nll: Float[Tensor, " batch"], ref_nll: Float[Tensor, " batch"], beta: float = 0.1
) -> Float[Tensor, " batch"]:
    """-(2/β) log σ(β (NLL_θ - NLL_ref)) of each sequence, from its summed negative log-likelihoods in nats.

    The reference is held fixed.

    Raises:
        DissectError: β is out of range.
    """
    checks.positive(beta=beta)
    return -2 / beta * F.logsigmoid(beta * (nll - ref_nll.detach()))
