"""Steering of hidden states (RMU; Li et al. 2024, arXiv:2403.03218)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses.flat_rows import IGNORED
from dissect.unlearning.losses.setting_checks import one_of

RMU_VARIANTS = ("masked", "official", "open_unlearning")
"""Published forms: means over answer tokens, over all positions, and open-unlearning's mean of [B] / [B, 1]."""


def rmu(
    states: Float[Tensor, "batch pos d_model"],
    goal: Float[Tensor, "*batch_pos d_model"],
    labels: Int[Tensor, "batch pos"],
    *,
    variant: str = "masked",
) -> Float[Tensor, ""]:
    """L = mean over texts b of (1/n_b) Σ_t s_bt with s_bt = (1/d) ‖h_bt - g_bt‖², in squared units of the states.

    h is the residual stream after the chosen layer. On forget tokens the goal g is c·u, u a fixed random unit vector;
    on retain tokens g is the state of the model before training. Positions t are those whose own label is scored.

    - ``masked``: the equation.
    - ``official``: the mean of s over all positions, as in the authors' code.
    - ``open_unlearning``: as in open-unlearning (arXiv:2506.12618), which divides [B] by [B, 1] and so averages
      Σ_t s_jt / n_i over all pairs of texts (i, j). It is ``masked`` where all answers are equally long.

    Raises:
        DissectError: another variant, or no token is scored.
    """
    one_of(RMU_VARIANTS, variant=variant)
    distances = squared_distance_rows(states.flatten(0, 1), goal.expand_as(states).flatten(0, 1)).view(labels.shape)
    if variant == "official":
        return distances.mean()
    scored = labels != IGNORED
    counts = scored.sum(1)  # (batch)
    if not scored.any():
        raise DissectError(f"no token is scored: every label is {IGNORED}; check the answer mask")
    sums = (distances * scored).sum(1)[counts > 0]  # (batch)
    return text_mean(sums, counts[counts > 0], variant=variant)


def text_mean(sums: Float[Tensor, " batch"], counts: Int[Tensor, " batch"], *, variant: str) -> Float[Tensor, ""]:
    """Mean over texts of what each sums over its tokens: by its own number of them, or by everybody's."""
    if variant == "open_unlearning":
        return (sums[None] / counts[:, None]).mean()
    return (sums / counts).mean()


def squared_distance_rows(
    states: Float[Tensor, "row d_model"], goal: Float[Tensor, "row d_model"]
) -> Float[Tensor, " row"]:
    """(1/d) ‖h - g‖² of each row."""
    return (states - goal).square().mean(1)


def unit_direction(width: int, seed: int) -> Float[Tensor, " d_model"]:
    """The random direction u of a run: uniform numbers from 0 to 1, scaled to norm 1, in float64."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.norm()
