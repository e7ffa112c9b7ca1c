"""The intervention of activation patching: a donor's activations in place of the recipient's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.patching.sites import hook_name
from dissect.sweep.batch import Batch
from dissect.sweep.intervention import Intervention
from dissect.sweep.trace import Donor


@dataclass(frozen=True)
class ActivationSwap(Intervention):
    """Overwrite sites of some layers, at every position, by what they are in the donor on the same text.

    The donor's activations are those of its own unpatched run, for all layers at once; everything else in the
    recipient is computed anew from them.
    """

    donor: Donor
    sites: tuple[str, ...]
    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        self.donor.want(self._names())

    @property
    def first_layer(self) -> int:
        """The first layer that is overwritten."""
        return min(self.layers)

    @contextmanager
    def applied(self, model: HookedTransformer, batch: Batch) -> Iterator[None]:
        """Hooks in the body, none afterwards. One forward pass of ``batch`` must run in the body.

        Raises:
            RuntimeError: a hook did not run, so the pass in the body was not the patched one.
        """
        activations = self.donor.trace(batch).activations
        pending = set(self._names())

        def swap(activation: Tensor, hook: HookPoint) -> Tensor:
            assert hook.name is not None
            pending.discard(hook.name)
            return activations[hook.name].to(device=activation.device, dtype=activation.dtype)

        with model.hooks(fwd_hooks=[(name, swap) for name in self._names()]):
            yield
        if pending:
            raise RuntimeError(f"hooks that never ran: {', '.join(sorted(pending))}")

    def _names(self) -> list[str]:
        return [hook_name(site, layer) for layer in self.layers for site in self.sites]
