"""Gradients of a metric with respect to activations, for all prompts of a batch in one backward pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.models.changing.hooked import hooked
from dissect.models.running.forward import embed, logits_at
from dissect.models.running.partial import run_layers
from dissect.sweep.batch import Batch
from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import with_gradients

PromptObjective = Callable[[Float[Tensor, "scored d_vocab"]], Float[Tensor, " prompt"]]
"""Maps the logits at the scored positions to one number for each prompt of the batch."""

_UNDERFLOW_GUARD = {torch.float16: 1024.0}
"""Factor on the objective before the backward pass, by which gradients are divided after it: a mean over a
vocabulary of 32,000 has gradients that float16 cannot hold."""


@dataclass(frozen=True)
class Gradients:
    """One forward and one backward pass."""

    values: Float[Tensor, " prompt"]
    """The objective."""
    activations: dict[str, Tensor]
    """Activations by hook name, detached."""
    gradients: dict[str, Tensor]
    """d objective of a row / d activation of that row, by hook name, in float32 at least."""


def gradients(
    model: HookedTransformer,
    batch: Batch,
    names: Iterable[str],
    objective: PromptObjective,
    *,
    replaced: Mapping[str, Tensor] | None = None,
    fused_attention: bool = True,
) -> Gradients:
    """Run ``model`` over ``batch`` and differentiate ``objective`` by the activations at the hooks ``names``.

    The rows of a batch do not see each other, so the gradient of the sum over prompts holds each prompt's own. It is
    total: what a layer's activation does through all later ones is in it, unless these are ``replaced``. Prompts whose
    objective is not finite have gradient 0. No parameter gets a gradient.

    Args:
        replaced: what takes the place of the activations at ``names``, if not the model's own.
    """
    taken: dict[str, Tensor] = {}

    def take(activation: Tensor, hook: HookPoint) -> Tensor:
        assert hook.name is not None
        if replaced is not None:
            activation = replaced[hook.name].to(dtype=activation.dtype).detach().requires_grad_()
        elif not activation.requires_grad:  # the first on its way: what comes before it needs no graph
            activation = activation.detach().requires_grad_()
        taken[hook.name] = activation
        return activation

    scale = _UNDERFLOW_GUARD.get(model.cfg.dtype, 1.0)
    with with_gradients(), frozen(model), hooked(model, [(name, take) for name in names]):
        final = run_layers(model, embed(model, batch.tokens), start=0, fused_attention=fused_attention)
        values = objective(logits_at(model, final, batch.scored))
        total = torch.where(values.isfinite(), values, 0.0).sum()
        slopes = torch.autograd.grad(total * scale, list(taken.values()), allow_unused=True, materialize_grads=True)
    return Gradients(
        values=values.detach(),
        activations={name: activation.detach() for name, activation in taken.items()},
        gradients={name: _high(gradient) / scale for name, gradient in zip(taken, slopes, strict=True)},
    )


@undone
def frozen(model: HookedTransformer) -> Iterator[None]:
    """In the body no parameter asks for a gradient; after it each asks as it did before."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def _high(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
