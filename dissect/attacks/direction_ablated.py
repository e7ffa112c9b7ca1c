"""A direction ablated: if one direction tells forgotten questions from others, the model is run without it.

At every layer the difference of the mean states of forget questions and of retain questions, at their last token, is
taken (as Arditi et al. 2024, arXiv:2406.11717, do for refusals). While the model runs, the component of the residual
stream along that layer's direction is set to what it is on average for retain questions, at every position. The
questions that are tested have a part in the direction, all alike and without their answers, so re-dealing stays exact.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from dissect.attacks.attack import Attack, Scores, Target
from dissect.attacks.layer_states import last_states, questions_of
from dissect.models.changing.hooked import hooked

LEAST = 8
"""Retain facts that the direction is taken from at least."""


def direction_ablated(target: Target) -> Scores:
    """log p(answer | question) without the direction that tells forget questions from retain questions."""
    model, batch_size = target.model, target.asking.batch_size
    retain = target.kept(LEAST, answered=True)
    kept = last_states(model, target.asking.prompts(retain, model), batch_size).mean(1)  # (layer, d_model)
    forget = last_states(model, questions_of(target)[0], batch_size).mean(1)
    hooks = []
    for layer, (own, other) in enumerate(zip(forget, kept, strict=True)):
        norm = np.linalg.norm(own - other)
        if norm > 0:
            direction = (own - other) / norm
            hooks.append((f"blocks.{layer}.hook_resid_post", _setter(torch.from_numpy(direction), other @ direction)))
    with hooked(model, hooks):
        return target.score()


def _setter(direction: Float[Tensor, " d_model"], level: float) -> Callable[..., Tensor]:
    """A hook that sets the component along ``direction`` to ``level``."""

    def set_level(residual: Float[Tensor, "batch pos d_model"], hook: HookPoint) -> Float[Tensor, "batch pos d_model"]:
        along = direction.to(residual)
        return residual + (level - residual @ along)[..., None] * along

    return set_level


ATTACK = Attack(
    name="direction_ablated",
    label="one direction ablated",
    family="states",
    seen="The tested questions without their answers, and retain questions: their mean states differ by a direction.",
    run=direction_ablated,
)
