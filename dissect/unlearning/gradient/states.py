"""Losses on hidden states: the forward pass ends at the layer whose output they see."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.running.forward import embed
from dissect.models.running.partial import run_block
from dissect.models.sharding.sharded import within
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.prompt_rows import PromptRows, rows_of
from dissect.unlearning.loss_inputs import StateInputs
from dissect.unlearning.losses.rmu import squared_distance_rows, unit_direction
from dissect.unlearning.methods import METHODS

States = Float[Tensor, "row d_model"]


def state_rows(prompts: Prompts, indices: Sequence[int], config: TrainConfig) -> PromptRows:
    """Make one micro-batch whose rows are the positions of the answers' own tokens, not those that predict them.

    Where the variant sees whole texts, all positions but padding are rows. The weights are those of the mean: 1 for
    each token, or 1 / length for ``masked``, whose mean is over texts.
    """
    whole = rows_of(prompts, indices)
    width, lengths = whole.tokens.shape[1], prompts.lengths[list(indices)]
    where = prompts.answer_mask[list(indices), :width]  # (batch, pos)
    if METHODS[config.method].variants[config.variant].whole_texts:
        where = torch.arange(width) < lengths[:, None]
    sequence = where.nonzero()[:, 0]  # (row)
    counts = where.sum(1)  # (batch)
    weights = 1 / counts[sequence].double() if config.variant == "masked" else torch.ones(len(sequence)).double()
    return replace(
        whole,
        where=where,
        targets=whole.tokens[where],
        answer=prompts.answer_mask[list(indices), :width][where],
        sequence=sequence,
        weights=weights,
    )


def state_total(answer_lengths: Sequence[int], lengths: Sequence[int], config: TrainConfig) -> float:
    """Number that the sum of weighted rows of a whole step is divided by."""
    if METHODS[config.method].variants[config.variant].whole_texts:
        return float(sum(lengths))
    n_texts = len(answer_lengths)
    if config.variant == "open_unlearning":  # the mean of 1 / n over all texts of the step stands for each one's own
        return n_texts**2 / sum(1 / length for length in answer_lengths)
    return float(n_texts)


def states_at(model: HookedTransformer, rows: PromptRows, layer: int, *, checkpointing: bool = False) -> States:
    """Run the blocks up to ``layer``, and return the residual stream after it at the rows."""
    residual = embed(model, rows.tokens)  # (batch, pos, d_model)
    for block in model.blocks[: layer + 1]:
        residual = run_block(block, residual, checkpointing=checkpointing)
    return residual[rows.where]  # (row, d_model)


@without_gradients()
def states_before(model: HookedTransformer, rows: PromptRows, layer: int) -> States:
    """The states of a reference, without a graph."""
    return within(model, states_at, model, rows, layer)


def goals(states: States | None, n_rows: int, width: int, config: TrainConfig) -> Float[Tensor, "row d_model"]:
    """What forget states are steered to: c·u, or with ``adaptive`` that multiple of each reference state's norm · u."""
    direction = unit_direction(width, config.seed)  # (d_model)
    if not config.adaptive:
        return (config.steering_coeff * direction).expand(n_rows, width)
    assert states is not None
    return config.adaptive * states.double().norm(dim=1, keepdim=True).cpu() * direction


def forget_values(goal: States, config: TrainConfig) -> Callable[[States], Float[Tensor, " row"]]:
    """The method's loss of each row, from the states of the trained model."""
    loss = METHODS[config.method].loss
    return lambda states: loss(StateInputs(states, goal.to(states)))


def retain_values(before: States) -> Callable[[States], Float[Tensor, " row"]]:
    """Squared distance of each row to the state of the reference."""
    return lambda states: squared_distance_rows(states, before.to(states))


def backward_states(
    model: HookedTransformer,
    rows: PromptRows,
    values: Callable[[States], Float[Tensor, " row"]],
    weight: float,
    config: TrainConfig,
) -> Float[Tensor, ""]:
    """Add the gradient of the weighted sum over rows to that of the parameters, and return the loss, detached."""
    assert config.steering_layer is not None
    layer = config.steering_layer

    def loss() -> Float[Tensor, ""]:
        states = states_at(model, rows, layer, checkpointing=config.gradient_checkpointing)
        return (rows.weights * values(states).double()).sum() * weight

    total = within(model, loss)
    if total.requires_grad:
        total.backward()
    return total.detach()
