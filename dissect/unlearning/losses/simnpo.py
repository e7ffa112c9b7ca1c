"""SimNPO (Fan et al. 2024, arXiv:2410.07163): NPO without a reference, on the answer's mean log-likelihood."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.nll import answer_nll


def simnpo(
    logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    beta: float = 4.5,
    delta: float = 0.0,
) -> Float[Tensor, ""]:
    """L = -(2/β) mean over sequences of log σ(-(β/|y|) log π_θ(y|x) - β δ), in nats.

    Minimising L makes the forget answers less likely; it falls to 0 as an answer's mean NLL passes the margin δ, in
    nats per token. The margin is δ as in open-unlearning (arXiv:2506.12618); the paper's own code calls it γ. |y| is
    the number of tokens that are predicted, so a first label, which nothing predicts, is not counted.

    Raises:
        DissectError: a sequence has no scored token, or β or δ is out of range.
    """
    sums, counts = answer_nll(logits, labels)
    return simnpo_sequences(sums, counts, beta, delta).mean()


def simnpo_sequences(
    nll: Float[Tensor, " batch"], counts: Int[Tensor, " batch"], beta: float = 4.5, delta: float = 0.0
) -> Float[Tensor, " batch"]:
    """-(2/β) log σ(β (NLL / |y| - δ)) of each sequence, from its summed NLL in nats and its number of tokens (not 0).

    Raises:
        DissectError: β or δ is out of range.
    """
    checks.positive(beta=beta)
    checks.finite(delta=delta)
    return -2 / beta * F.logsigmoid(beta * (nll / counts - delta))
