"""Knowledge recovery score (Hong et al., EMNLP 2024): how far the logits move back to the donor's."""

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.metrics.metric import Metric, Scored

_ELEMENTS = (1 << 19, 1 << 26)
"""Logits that are compared at once, on the CPU and elsewhere: what stays in a processor's cache is compared six times
as fast as what goes through its memory, and the vocabulary is wide."""


def squared_distance(scored: Scored) -> Float[Tensor, " scored"]:
    """Mean squared difference of the logits, (1/V) Σ_v (z_donor[v] - z[v])², at each position.

    KRS = 1 - loss(patched) / loss(recipient) with this loss: 1 where the donor's logits are back, 0 where nothing
    changed, negative where the patch leads further away. It is what ``SweepResult.recovery("krs")`` returns.
    """
    rows = max(1, _ELEMENTS[scored.logits.device.type != "cpu"] // scored.logits.shape[-1])
    pairs = zip(scored.reference.split(rows), scored.logits.split(rows), strict=True)
    lengths = torch.cat([torch.linalg.vector_norm(theirs - ours, dim=-1) for theirs, ours in pairs])
    return lengths.square() / scored.logits.shape[-1]


METRIC = Metric(
    name="krs",
    label="mean squared logit difference",
    score=squared_distance,
    unit="logits²",
    squared_distance=True,
)
