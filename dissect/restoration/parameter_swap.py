"""The intervention of restoration: a donor's parameters in place of the recipient's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import HookedTransformer

from dissect.models.files.stored import StoredParameters
from dissect.models.parameters import first_layer_of
from dissect.models.sharding.shards import Kept, as_it_is, gathered, put_back, put_in
from dissect.restoration.blend import Mix, blended
from dissect.sweep.batch import Batch
from dissect.sweep.intervention import Intervention
from dissect.undoing.change import Change
from dissect.undoing.gradient_mode import without_gradients

_AFTER_COEFFICIENTS = ("mlp.W_out", "mlp.b_out", "ln2_post.")
_AFTER_ATTENTION = ("mlp.", "ln2.", "ln2_post.")


class Parameters:
    """The parameters of a donor: those of a model in memory, or read from its files one by one."""

    def __init__(self, model: HookedTransformer, stored: StoredParameters | None = None) -> None:
        """``model`` is the donor, or with ``stored`` any model that has its shapes."""
        self.model = model
        self.runs = False
        self.fused_attention = True
        self._given = self._stored = stored
        self._most = 1

    def want(self, names: Iterable[str]) -> None:
        """Say which parameters will be asked for together.

        Raises:
            DissectError: the donor's files do not have one of them.
        """
        names = list(names)
        self._most = max(self._most, len(names))
        if self._stored is not None:
            self._stored.check(names)
            self._stored.keep = self._most

    def hold(self, batches: Iterable[Batch]) -> None:
        """Need the model no more: from now on what is asked for is read from its files, and no more of it is kept."""
        self._stored = StoredParameters.of(self.model)
        self._stored.keep = self._most

    def release(self) -> None:
        """Give back what was read; the model is asked again."""
        self._stored = self._given

    def parameter(self, name: str) -> Tensor:
        """The values of a parameter."""
        return self.model.get_parameter(name).data if self._stored is None else self._stored.parameter(name)


@dataclass(frozen=True, eq=False)
class ParameterSwap(Intervention):
    """Let some parameters of the recipient be those of the donor, whole or as ``steps`` make them.

    The tensors themselves change places, nothing is copied but the blocks in play where a part of them is mixed:
    undoing it puts back the very tensor that was there, so it is exact to the bit, and a sweep needs no copy of the
    state dict. Of a sharded model each rank keeps its part of the blocks in play instead; see ``models.shards``.
    """

    donor: Parameters
    names: tuple[str, ...]
    """Names as in ``named_parameters()``."""
    steps: tuple[Mix, ...] = ()
    """Mixes that narrow down the donor's values first; see ``dissect.restoration.blend``."""

    def __post_init__(self) -> None:
        self.donor.want(self.names)

    @property
    def first_layer(self) -> int:
        """The first layer whose computation the parameters enter."""
        return first_layer_of(self.donor.model, self.names)

    @property
    def kept(self) -> tuple[str, ...]:
        """Hooks of the first layer that are computed before it meets a swapped parameter."""
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

    def applied(self, model: HookedTransformer, batch: Batch | None = None) -> Change[None]:
        """The mixed parameters in the body, the model's own afterwards; nesting is allowed."""
        kept: dict[str, Kept] = {}

        def swap() -> None:
            for name in self.names:
                parameter = model.get_parameter(name)
                value = mixed(self.steps, name, parameter, self.donor.parameter(name))
                kept[name] = as_it_is(parameter)  # before it is changed: Ctrl-C may come between the two
                put_in(parameter, value)

        def undo() -> None:
            for name, own in kept.items():
                put_back(model.get_parameter(name), own)

        return Change(None, swap, undo)


@without_gradients()
def mixed(
    steps: Sequence[Mix], name: str, parameter: nn.Parameter, donated: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Return the new value of a parameter: the donor's tensor as it is, or mixed with the recipient's.

    Steps see whole tensors, so that a sharded parameter is gathered for them, one at a time.
    """
    if not steps:
        return donated
    own = gathered(parameter)
    return blended(steps, name, own, gathered(donated).to(device=own.device, dtype=own.dtype))
