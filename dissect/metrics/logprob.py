"""Log-probability of the answer's tokens."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dissect.metrics.metric import Metric, Scored


def log_probability(scored: Scored) -> Float[Tensor, " scored"]:
    """log p(y_t | x_<t) in nats of the answer's token at each position; the mean over an answer is -NLL."""
    return functional.log_softmax(scored.logits, dim=-1).gather(-1, scored.targets[:, None])[:, 0]


METRIC = Metric(
    name="logprob",
    label="answer log-probability",
    score=log_probability,
    unit="nats",
    better="higher",
    needs_targets=True,
)
