"""The intervention of activation patching: a donor's activations in place of the recipient's own."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.models.changing.hooked import hooked
from dissect.models.running.partial import GIVABLE
from dissect.patching import where as positions
from dissect.patching.sites import SITES, hook_name
from dissect.sweep.batch import Batch
from dissect.sweep.donor import Donor
from dissect.sweep.intervention import Intervention
from dissect.undoing.change import undone

_AFTER_ATTENTION = frozenset({"mlp_post", "mlp_out", "resid_mid", "resid_post"})


@dataclass(frozen=True, eq=False)
class ActivationSwap(Intervention):
    """Overwrite sites of some layers by what they are in the donor on the same text.

    The donor's activations are those of its own unpatched run, for all layers at once; everything else in the
    recipient is computed anew from them.
    """

    donor: Donor
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    where: positions.Where = "all"
    """At which positions; for ``pattern``, of the query."""
    heads: tuple[int, ...] | None = None
    """Only these heads; all by default. Key/value heads of ``k`` and ``v`` are counted as the model stores them."""
    neurons: tuple[int, ...] | None = None
    """Only these entries of the last axis; all by default."""

    def __post_init__(self) -> None:
        self.donor.want(self._names())

    @property
    def first_layer(self) -> int:
        """The first layer that is overwritten."""
        return min(self.layers)

    @property
    def kept(self) -> tuple[str, ...]:
        """The first layer's attention, where only what comes after it is overwritten."""
        after = _AFTER_ATTENTION.issuperset(self.sites)
        return (hook_name("attn_out", self.first_layer),) if after else ()

    @property
    def needs_patterns(self) -> bool:
        """True if attention weights are overwritten."""
        return "pattern" in self.sites

    def prepare(self, batch: Batch) -> None:
        """Run the donor: in hooks it would run into those that are set, where it is the recipient itself."""
        self.donor.turn_to(batch)

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """The activations that are overwritten whole."""
        if not self._whole(batch):
            return {}
        return {name: self.donor.activation(batch, name) for name in self._names()}

    def defined(self, batch: Batch) -> Bool[Tensor, " batch"] | None:
        """The prompts that have the position meant."""
        return positions.mask(self.where, batch.prompts).any(1) if isinstance(self.where, int) else None

    @undone
    def applied(self, model: HookedTransformer, batch: Batch) -> Iterator[None]:
        """Hooks in the body for what is overwritten in part, none afterwards. One pass of ``batch`` runs in the body.

        Raises:
            RuntimeError: a hook did not run, so the pass in the body was not the patched one.
        """
        if self._whole(batch):
            yield
            return
        positions = self._positions(batch)
        pending = set(self._names())

        def swap(activation: Tensor, hook: HookPoint) -> Tensor:
            assert hook.name is not None
            pending.discard(hook.name)
            donated = self.donor.activation(batch, hook.name).to(device=activation.device, dtype=activation.dtype)
            return torch.where(self._chosen(hook.name, activation, positions), donated, activation)

        with hooked(model, [(name, swap) for name in self._names()]):
            yield
        if pending:
            raise RuntimeError(f"hooks that never ran: {', '.join(sorted(pending))}")

    def _names(self) -> list[str]:
        return [hook_name(site, layer) for layer in self.layers for site in self.sites]

    def _whole(self, batch: Batch) -> bool:
        """Return whether all of it can be given beforehand, so that what leads up to it need not be computed."""
        in_part = self.where != "all" or self.heads is not None or self.neurons is not None
        givable = all(SITES[site].hook in GIVABLE for site in self.sites)
        return givable and not in_part and self.donor.valid(batch) is None

    def _positions(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        if self.where == "all":  # the padding too: it is never read, and so a whole swap is exactly whole
            swapped = torch.ones_like(batch.tokens, dtype=torch.bool)
        else:
            swapped = positions.mask(self.where, batch.prompts).to(batch.tokens.device)
        valid = self.donor.valid(batch)
        return swapped if valid is None else swapped & valid.to(swapped.device)

    def _chosen(self, name: str, activation: Tensor, swapped: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "..."]:
        """Mask of the entries that are overwritten, in a shape that broadcasts to the activation's."""
        site = next(site for site in SITES.values() if name.endswith(f".{site.hook}"))
        shape = [1] * activation.ndim
        shape[0], shape[2 if site.head_axis == 1 else 1] = swapped.shape
        entries = swapped.reshape(shape)
        for axis, only in ((site.head_axis, self.heads), (activation.ndim - 1, self.neurons)):
            if axis is not None and only is not None:
                index = torch.zeros(activation.shape[axis], dtype=torch.bool, device=activation.device)
                index[list(only)] = True
                entries = entries & index.reshape([-1 if dim == axis else 1 for dim in range(activation.ndim)])
        return entries
