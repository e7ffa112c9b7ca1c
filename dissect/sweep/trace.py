"""One forward pass of one model over a batch, and the parts of it that are kept."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.running.forward import caching, embed
from dissect.models.running.partial import run_layers
from dissect.sweep.batch import Batch
from dissect.undoing.gradient_mode import without_gradients


@dataclass(frozen=True)
class Trace:
    """The parts of a forward pass that are kept."""

    activations: dict[str, Tensor]
    """Activations by hook name."""
    final: Float[Tensor, "batch pos d_model"]
    """The residual stream after the last block."""


@without_gradients()
def trace(
    model: HookedTransformer,
    batch: Batch,
    names: Iterable[str] = (),
    *,
    fused_attention: bool = True,
) -> Trace:
    """Run ``model`` over ``batch`` and keep the activations at the hooks ``names``."""
    device = model.embed.W_E.device
    with caching(model, tuple(names)) as activations:
        residual = embed(model, batch.tokens.to(device))
        final = run_layers(model, residual, start=0, fused_attention=fused_attention)
    return Trace(activations, final)
