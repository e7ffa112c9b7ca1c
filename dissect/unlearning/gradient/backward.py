"""Forward and backward pass over rows, with logits for a part of them at a time."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformer_lens import HookedTransformer

from dissect.models.accounting import TRAINING_LOGITS
from dissect.models.running.forward import embed, read_out
from dissect.models.running.partial import run_block, run_layers
from dissect.models.sharding.sharded import is_sharded, within
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.gradient.prompt_rows import PromptRows

LOGITS_AT_ONCE = TRAINING_LOGITS
"""Number of logits that are in memory together."""

RowValues = Callable[[Float[Tensor, "row d_vocab"], slice], Float[Tensor, " row"]]
"""Function from the logits of some rows to the quantity that an objective takes of each; the slice says which rows."""
Combine = Callable[[Float[Tensor, " row"]], Float[Tensor, ""]]
"""Function from that quantity of all rows to the loss."""


def residual_rows(
    model: HookedTransformer, rows: PromptRows, *, checkpointing: bool = False
) -> Float[Tensor, "row d_model"]:
    """Run the blocks, and return the residual stream after the last one at the scored positions.

    With ``checkpointing`` the backward pass computes every block again, and hooks in blocks fire twice.
    """
    residual = embed(model, rows.tokens)  # (batch, pos, d_model)
    if not checkpointing:
        return run_layers(model, residual, start=0)[rows.where]  # (row, d_model)
    for block in model.blocks:
        residual = run_block(block, residual, checkpointing=True)  # (batch, pos, d_model)
    return residual[rows.where]  # (row, d_model)


def chunks(n_rows: int, d_vocab: int) -> Iterator[slice]:
    """Cut rows into slices whose logits fit into `LOGITS_AT_ONCE`."""
    size = max(1, LOGITS_AT_ONCE // d_vocab)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def logits_of(model: HookedTransformer, residual: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """Apply the final norm and the unembedding; the logits are in float32 at least."""
    return read_out(model, residual[None])[0]  # (1, row, d_model) -> (row, d_vocab)


def backward(
    model: HookedTransformer,
    forward: Callable[[], Float[Tensor, "row d_model"]],
    values: RowValues,
    combine: Combine,
    *,
    linear: bool,
) -> Float[Tensor, ""]:
    """Add the gradient of ``combine(values(logits))`` to that of the parameters, and return the loss, detached.

    Logits and what a loss makes of them exist for one slice of rows at a time: each slice is differentiated as soon as
    it is computed, as far as the residual stream, and that gradient goes back through the blocks once.

    Args:
        forward: gives the residual stream at the scored rows.
        linear: ``combine`` of all rows is the sum of ``combine`` over slices: ``values`` are then final, and a mean is
            divided by the whole count beforehand. Otherwise, where there are several slices, the unembedding is run
            twice: once for the values, whose gradient weighs the rows of the second run.
    """
    if is_sharded(model):
        return _backward_in_one(model, forward, values, combine)

    # The graph is cut at the residual stream: `leaf` collects the gradient of all slices before it goes on.
    residual = forward()  # (row, d_model)
    leaf = residual.detach().requires_grad_()  # (row, d_model)
    parts = list(chunks(len(residual), model.cfg.d_vocab_out))

    if len(parts) == 1 or linear:
        # A sum over rows: each slice has its own loss, whose graph is freed before the next one is computed.
        losses = []
        for part in parts:
            logits = logits_of(model, leaf[part])  # (part, d_vocab)
            loss = combine(values(logits, part))  # (part) -> ()
            loss.backward()
            losses.append(loss.detach())
        total = torch.stack(losses).sum()
    else:
        # Not a sum over rows, such as log σ of an answer's sum. First the value of every row, without a graph.
        with without_gradients():
            first = torch.cat([values(logits_of(model, leaf[part]), part) for part in parts])  # (row)
        # Then the derivative of the loss by each of them, which is the weight of the row in the second pass.
        first.requires_grad_()
        total = combine(first)  # ()
        (weights,) = torch.autograd.grad(total, first)  # (row)
        for part in parts:
            (values(logits_of(model, leaf[part]), part) * weights[part]).sum().backward()

    # Once through the blocks, with the gradient of all slices together.
    assert leaf.grad is not None
    if residual.requires_grad:
        residual.backward(leaf.grad)
    return total.detach()


def _backward_in_one(
    model: HookedTransformer, forward: Callable[[], Float[Tensor, "row d_model"]], values: RowValues, combine: Combine
) -> Float[Tensor, ""]:
    """Do the same for a sharded model, whose ranks must gather parameters equally often however many rows each has.

    All of it is one pass of the model, so that embedding and unembedding are gathered once for the forward and once for
    the backward pass, which computes the logits of each slice again.
    """

    def part_values(rows: Float[Tensor, "part d_model"], part: slice) -> Float[Tensor, " part"]:
        return values(logits_of(model, rows), part)  # (part, d_model) -> (part, d_vocab) -> (part)

    def loss() -> Float[Tensor, ""]:
        residual = forward()  # (row, d_model)
        return within(model.unembed, read, residual)

    def read(residual: Float[Tensor, "row d_model"]) -> Float[Tensor, ""]:
        # Checkpointing stands in for the cut graph above: the logits of a slice are dropped, and computed again.
        parts = chunks(len(residual), model.cfg.d_vocab_out)
        row_values = [checkpoint(part_values, residual[part], part, use_reentrant=False) for part in parts]
        return combine(torch.cat(row_values))  # (row) -> ()

    total = within(model, loss)
    total.backward()
    return total.detach()
