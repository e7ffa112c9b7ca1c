"""Exact match: the whole answer is what the model would say."""

from jaxtyping import Float
from torch import Tensor

from dissect.metrics.metric import Metric, Scored
from dissect.metrics.rank import rank


def is_greedy(scored: Scored) -> Float[Tensor, " scored"]:
    """1 where the answer's token is the one that greedy decoding takes, 0 where it is not."""
    return (rank(scored) == 1).to(scored.logits.dtype)


METRIC = Metric(
    name="exact",
    label="answer is the greedy continuation",
    score=is_greedy,
    better="higher",
    needs_targets=True,
    reduction="min",
    smooth=False,
)
"""1 where every token of the answer is the most likely one where it stands, so that the greedy continuation of the
prompt begins with the answer; 0 otherwise. The mean over prompts is the share of facts recalled verbatim."""
