"""First order over parameters: what putting in a donor's block would do, from one backward pass."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.distributed import summed, world
from dissect.models.running.forward import embed, logits_at
from dissect.models.running.partial import run_layers
from dissect.models.sharding.sharded import is_sharded
from dissect.models.sharding.shards import laid_as, own_part
from dissect.sweep.batch import Batch
from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import with_gradients

TotalObjective = Callable[[Float[Tensor, "scored d_vocab"]], Float[Tensor, ""]]
"""Maps the logits at the scored positions of a batch to the quantity that is to change."""


def parameter_scores(
    model: HookedTransformer,
    batch: Batch,
    objective: TotalObjective,
    donated: Callable[[str], Tensor],
    names: Iterator[str] | list[str],
) -> Mapping[str, float]:
    """Σ (donated - own) · ∂objective/∂own for each parameter, at the model as it is.

    A positive score raises the objective. Gradients are reduced to their products as they arise and let go, so there is
    never more than one of them.
    """
    scores: dict[str, float] = {}
    names = list(names)
    with _watched(model, names, donated, scores), with_gradients():
        final = run_layers(model, embed(model, batch.tokens), start=0)
        objective(logits_at(model, final, batch.scored)).backward()
        if is_sharded(model):
            scores |= _of_shards(model, names, donated)
    return scores


def _of_shards(model: HookedTransformer, names: list[str], donated: Callable[[str], Tensor]) -> dict[str, float]:
    """Score the parameters of a sharded model from this rank's parts of all gradients, which are there together.

    Every rank ran the same prompts, and FSDP2 added up their gradients; ``over`` of the mesh may hold copies as well.
    """
    over = model.sharding.over
    products = []
    for name in names:
        parameter = model.get_parameter(name)
        assert parameter.grad is not None
        own = own_part(parameter)
        change = laid_as(donated(name).to(device=own.device, dtype=own.dtype), parameter) - own
        products.append(float((change * own_part(parameter.grad)).sum(dtype=torch.float64)))
    copies = over.size() // over.size(over.ndim - 1)
    return {name: total / (world().size * copies) for name, total in zip(names, summed(products), strict=True)}


@undone
def _watched(
    model: HookedTransformer, names: list[str], donated: Callable[[str], Tensor], scores: dict[str, float]
) -> Iterator[None]:
    """In the body only the parameters ``names`` ask for gradients, and each is reduced when it is complete."""
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    handles = []
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        for name in names:

            def reduce(parameter: Tensor, name: str = name) -> None:
                gradient, own = parameter.grad, parameter.data
                assert gradient is not None
                change = donated(name).to(device=own.device, dtype=own.dtype) - own
                scores[name] = float((change * gradient).sum(dtype=torch.float64))
                parameter.grad = None

            if is_sharded(model):
                continue  # FSDP2 sets the gradients of shards past autograd, and with it past its hooks
            handles.append(model.get_parameter(name).register_post_accumulate_grad_hook(reduce))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])
            if name in names:
                parameter.grad = None
