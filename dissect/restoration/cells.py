"""The cells of a parameter sweep."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.parameters import in_checkpoint
from dissect.patching.activation_swap import ActivationSwap
from dissect.restoration.blend import Mix, Noise, Own
from dissect.restoration.blocks import Swapped, place_of
from dissect.restoration.parameter_swap import Parameters, ParameterSwap
from dissect.restoration.scope import elsewhere, swapped_names
from dissect.restoration.slices import BlockSlice, Slices, slices
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, Windows
from dissect.sweep.intervention import Intervention, Joint


@dataclass(frozen=True)
class Builder:
    """The parts that all cells of a sweep share."""

    model: HookedTransformer
    """The recipient, or its shapes."""
    activations: Mapping[str, Donor]
    """Donors of activations in mixed cells, by control; the sweep's own under ``""``."""
    parameters: Mapping[str, Parameters]
    """Parameters of the donor under ``""``, of the retrained model under ``retrained``."""
    scope: str
    seed: int

    def cells(
        self, components: Sequence[Swapped], layer_sets: Windows, cut: Slices, controls: Sequence[str]
    ) -> Iterator[Cell]:
        """Yield every component with every set of layers and every slice, first as asked, then for each control."""
        last: dict[str, tuple[Mix, ...]] = {"identity": (Own(),), "noise": (Noise(self.seed),)}
        # For each donor its own: they keep what they find out about its change.
        parts = {donor: list(slices(self.model, components, cut)) for donor in self.parameters}
        for control in ("", *controls):
            donor = "retrained" if control == "retrained" else ""
            for component in components:
                label = f"all but {component.label}" if self.scope == "all_but" else component.label
                label = f"{label} ({control})" if control else label
                for layer, members in self._layer_sets(component, layer_sets, control):
                    names = swapped_names(in_checkpoint(self.model), component.names(self.model, members), self.scope)
                    for part in parts[donor]:
                        swap = ParameterSwap(self.parameters[donor], names, (*part.steps, *last.get(control, ())))
                        joint = self._joint(component, members, part, swap, control)
                        yield Cell(label, layer, members, part.coords, intervention=joint)

    def _layer_sets(self, component: Swapped, layer_sets: Windows, control: str) -> Windows:
        if not component.in_layers:
            return [] if control == "random" else [(place_of(self.model, component), ())]
        return elsewhere(layer_sets, self.model.cfg.n_layers, self.seed) if control == "random" else layer_sets

    def _joint(
        self, component: Swapped, members: tuple[int, ...], part: BlockSlice, swap: ParameterSwap, control: str
    ) -> Intervention:
        """With activation sites in the component, both at once; a control is one of either."""
        if not component.sites:
            return swap
        donor = self.activations.get(control, self.activations[""])
        hooks = ActivationSwap(donor, component.sites, members, heads=part.heads, neurons=part.neurons)
        return Joint((swap, hooks))


def check_scope(components: Sequence[Swapped], scope: str, sliced: bool, layer_sets: Windows) -> None:
    """Refuse combinations that mean nothing.

    Raises:
        DissectError: ``all_but`` together with parts of blocks or with activations; components in layers beside others
            outside where layers are named by sets.
    """
    if scope == "all_but" and sliced:
        raise DissectError("scope='all_but' leaves out whole blocks: it cannot be cut into heads, neurons, rank or t")
    mixed = [component.label for component in components if component.sites]
    if scope == "all_but" and mixed:
        raise DissectError(f"scope='all_but' is about parameters: leave the activations out of {mixed[0]!r}")
    named = any(isinstance(label, str) for label, _ in layer_sets)
    outside = [component.label for component in components if not component.in_layers]
    if named and outside:
        raise DissectError(f"{outside[0]!r} stands outside the layers: it cannot share an axis with sets of layers")
