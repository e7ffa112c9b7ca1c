"""Knowledge recovery score (Hong et al., EMNLP 2024): how far the logits move back to the donor's."""

from jaxtyping import Float
from torch import Tensor

from dissect.metrics.metric import Metric, Scored


def squared_distance(scored: Scored) -> Float[Tensor, "scored"]:
    """Mean squared difference of the logits, (1/V) Σ_v (z_donor[v] - z[v])², at each position.

    KRS = 1 - loss(patched) / loss(recipient) with this loss: 1 where the donor's logits are back, 0 where nothing
    changed, negative where the patch leads further away. It is what ``SweepResult.recovery("krs")`` returns.
    """
    return (scored.reference - scored.logits).pow(2).mean(-1)


METRIC = Metric(name="krs", label="mean squared logit difference", measure=squared_distance, unit="logits²")
