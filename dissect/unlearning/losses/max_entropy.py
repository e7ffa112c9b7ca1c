"""Maximum entropy (ME; Yuan et al. 2024, arXiv:2410.08109): every token becomes equally likely."""

import math

from jaxtyping import Float, Int
from torch import Tensor

from dissect.unlearning.losses.flat_rows import full_precision, predicting_rows


def max_entropy(logits: Float[Tensor, "batch pos vocab"], labels: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """L = mean over scored tokens of KL(U || p) = -log V - (1/V) Σ_v log p_v, in nats.

    U gives each of the V tokens 1/V. L is 0 where the model does too. The divergence is taken in the direction of the
    authors' code, which adds 1e-12 to each p_v; log-softmax needs no such help.

    Raises:
        DissectError: no token is scored.
    """
    rows, _, _ = predicting_rows(logits, labels)
    return max_entropy_rows(rows).mean()


def max_entropy_rows(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """KL(U || p) of each row, in nats."""
    return -full_precision(logits).log_softmax(1).mean(1) - math.log(logits.shape[1])
