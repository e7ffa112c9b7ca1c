"""Logit of the answer against that of a wrong answer."""

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.metrics.metric import Metric, Scored


def difference(scored: Scored) -> Float[Tensor, " scored"]:
    """z[answer's token] - z[foil's token] where the two part, NaN at every other position.

    Positive: the model prefers the answer. It is the log of the ratio of the two probabilities, in nats, does not move
    when a constant is added to all logits, and is linear in them.
    """
    assert scored.foils is not None  # Metric.per_prompt checked it
    there = scored.foils >= 0
    tokens = torch.stack([scored.targets, scored.foils], dim=-1).clamp(min=0)
    answer, foil = scored.logits.gather(-1, tokens).unbind(-1)
    return torch.where(there, answer - foil, torch.nan)


METRIC = Metric(
    name="logit_diff",
    label="logit of the answer minus that of the foil",
    score=difference,
    unit="nats",
    better="higher",
    needs_targets=True,
    needs_foils=True,
    reduction="mean_present",
)
"""A prompt has one position at which answer and foil part, so this is the difference there; NaN for prompts that have
no foil (they count as undefined), which ``dissect.data.foils`` says more about."""
