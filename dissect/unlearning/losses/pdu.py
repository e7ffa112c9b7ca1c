"""Logit-margin flattening (PDU; Entesari et al. 2025, arXiv:2506.05314), the forget loss of primal-dual unlearning."""

from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses.flat_rows import IGNORED, full_precision


def pdu(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """L = mean over positions of (max_v z_v - mean_v z_v)², in squared logits.

    Minimising L flattens the prediction; it is 0 where all tokens are equally likely. As in open-unlearning
    (arXiv:2506.12618) the positions are those whose own label is scored, not those that predict one: the first answer
    token is not flattened, and the position after the last is. The dual variable of the paper, which weighs a retain
    loss, is no part of this.

    Raises:
        DissectError: no token is scored.
    """
    scored = labels != IGNORED
    if not scored.any():
        raise DissectError(f"no token is scored: every label is {IGNORED}; check the answer mask")
    return pdu_rows(logits[scored]).mean()


def pdu_rows(logits: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """(max_v z_v - mean_v z_v)² in squared logits."""
    values = full_precision(logits)
    return (values.amax(1) - values.mean(1)) ** 2
