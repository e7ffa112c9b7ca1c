"""Kullback-Leibler divergence from the donor's prediction."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dissect.metrics.metric import Metric, Scored


def divergence(scored: Scored) -> Float[Tensor, " scored"]:
    """KL(p_donor ‖ p) in nats at each position, 0 where the predictions agree.

    Unlike the squared difference of logits it does not move when a constant is added to all logits, and it weighs
    each token of the vocabulary by its probability.
    """
    expected = functional.log_softmax(scored.reference, dim=-1)
    actual = functional.log_softmax(scored.logits, dim=-1)
    return functional.kl_div(actual, expected, reduction="none", log_target=True).sum(-1)


METRIC = Metric(name="kl", label="KL to the donor", score=divergence, unit="nats")
