"""The intervention of restoration: a donor's parameters in place of the recipient's own."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.parameters import first_layer_of
from dissect.sweep.batch import Batch
from dissect.sweep.intervention import Intervention

_AFTER_COEFFICIENTS = ("mlp.W_out", "mlp.b_out", "ln2_post.")
_AFTER_ATTENTION = ("mlp.", "ln2.", "ln2_post.")


class Parameters:
    """The parameters of a model; ``hold`` copies those that are wanted, after which the model is needed no more."""

    def __init__(self, model: HookedTransformer) -> None:
        self.model = model
        self.fused_attention = True
        self._wanted: set[str] = set()
        self._held: dict[str, Tensor] = {}

    def want(self, names: Iterable[str]) -> None:
        """Say which parameters will be asked for."""
        self._wanted.update(names)

    def hold(self, batches: Iterable[Batch]) -> None:
        """Copy the wanted parameters."""
        self._held = {name: self.model.get_parameter(name).data.clone() for name in sorted(self._wanted)}

    def release(self) -> None:
        """Give the copies back."""
        self._held = {}

    def parameter(self, name: str) -> Tensor:
        """The values of a parameter."""
        return self._held[name] if name in self._held else self.model.get_parameter(name).data


@dataclass(frozen=True, eq=False)
class ParameterSwap(Intervention):
    """Let some parameters of the recipient be those of the donor.

    The tensors themselves change places, nothing is copied: undoing it puts back the very tensor that was there, so
    it is exact to the bit, and a sweep needs no copy of the state dict.
    """

    donor: Parameters
    names: tuple[str, ...]
    """As in ``named_parameters()``."""

    def __post_init__(self) -> None:
        self.donor.want(self.names)

    @property
    def first_layer(self) -> int:
        """The first layer whose computation the parameters enter."""
        return first_layer_of(self.donor.model, self.names)

    @property
    def kept(self) -> tuple[str, ...]:
        """What the first layer computes before it meets a swapped parameter."""
        prefix = f"blocks.{self.first_layer}."
        inside = [name.removeprefix(prefix) for name in self.names if name.startswith(prefix)]
        kept = []
        if inside and all(name.startswith(_AFTER_ATTENTION) for name in inside):
            kept.append(f"{prefix}hook_attn_out")
        if inside and all(name.startswith(_AFTER_COEFFICIENTS) for name in inside):
            kept.append(f"{prefix}mlp.hook_post")
        return tuple(kept)

    @property
    def changes_weights(self) -> bool:
        """Always."""
        return True

    @contextmanager
    def applied(self, model: HookedTransformer, batch: Batch | None = None) -> Iterator[None]:
        """The donor's parameters in the body, the model's own afterwards; nesting is allowed."""
        kept = {}
        try:
            for name in self.names:
                parameter = model.get_parameter(name)
                own = parameter.data
                donated = self.donor.parameter(name).to(device=own.device, dtype=own.dtype)
                kept[name] = own
                parameter.data = donated
            yield
        finally:
            for name, own in kept.items():
                model.get_parameter(name).data = own
