"""Blocks as users name them, resolved to names of parameters, and activations that go in together with one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.block_names import EMBEDDING, LAYER_BLOCKS, OUTSIDE_BLOCKS
from dissect.models.parameters import layer_block_parameters, outside_block_parameters
from dissect.patching.sites import SITES, Component, available
from dissect.restoration.smallest_result import BlockAt
from dissect.sweep.grid import check_unique, windows


@dataclass(frozen=True)
class Swapped:
    """The blocks and sites that one component of a sweep swaps."""

    label: str
    blocks: tuple[str, ...]
    """Parameter blocks of the window's layers."""
    outside: tuple[str, ...]
    """Parameter blocks outside the layers."""
    sites: tuple[str, ...]
    """Activation sites of the window's layers."""

    @property
    def in_layers(self) -> bool:
        """True if it has a part in every layer."""
        return bool(self.blocks or self.sites)

    def names(self, model: HookedTransformer, members: Iterable[int]) -> tuple[str, ...]:
        """Names of the parameters that it swaps with these layers."""
        inside = [
            name for layer in members for block in self.blocks for name in layer_block_parameters(model, block, layer)
        ]
        return tuple(dict.fromkeys([*inside, *self.outside_names(model)]))

    def outside_names(self, model: HookedTransformer) -> tuple[str, ...]:
        """Names of those outside the layers."""
        return tuple(name for block in self.outside for name in outside_block_parameters(model, block))


def check_components(model: HookedTransformer, wanted: Component | Sequence[Component]) -> list[Swapped]:
    """Sort out what each component is made of; ``"mlp.W_out+mlp_post"`` is the same as the tuple.

    Raises:
        DissectError: a block or site that does not exist, here or in this architecture, one that holds another, or
            a component without any parameter.
    """
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    components = [_sorted_out(model, component) for component in names]
    check_unique([component.label for component in components], "blocks")
    return components


def place_of(model: HookedTransformer, component: Swapped) -> int:
    """Position on the axis of layers of a component outside the layers: -1 for embeddings, n_layers for the end."""
    at_start = any(block in ("embed", "pos_embed") for block in component.outside)
    return EMBEDDING if at_start else int(model.cfg.n_layers)


def part_parameters(
    model: HookedTransformer, parts: str | Sequence[BlockAt], layers: Iterable[int] | None
) -> tuple[str, ...]:
    """Parameters of blocks in ``layers`` (all by default); pairs (layer, block) and blocks outside the layers stand
    for themselves.

    Raises:
        DissectError: a block or layer that does not exist, nothing asked for, or something twice.
    """
    wanted = (parts,) if isinstance(parts, str) else tuple(parts)
    check_unique([str(part) for part in wanted], "blocks")
    general = [part for part in wanted if isinstance(part, str) and part not in OUTSIDE_BLOCKS]
    names: list[str] = []
    if general:
        for _, members in windows(layers, 1, model.cfg.n_layers):
            names += [
                name for layer in members for block in general for name in layer_block_parameters(model, block, layer)
            ]
    for part in wanted:
        if not isinstance(part, str):
            names += layer_block_parameters(model, part[1], part[0])
        elif part in OUTSIDE_BLOCKS:
            names += outside_block_parameters(model, part)
    return tuple(dict.fromkeys(names))


def _sorted_out(model: HookedTransformer, component: Component) -> Swapped:
    parts = tuple(component.split("+")) if isinstance(component, str) else tuple(component)
    label = "+".join(parts)
    for part in parts:
        if part not in LAYER_BLOCKS and part not in OUTSIDE_BLOCKS and part not in SITES:
            raise DissectError(
                f"no parameter block {part!r}: choose from {', '.join(LAYER_BLOCKS)}, outside the layers from "
                f"{', '.join(OUTSIDE_BLOCKS)}, and to go with them activation sites such as mlp_post"
            )
    check_unique(parts, f"component {label!r}")
    blocks = tuple(part for part in parts if part in LAYER_BLOCKS)
    outside = tuple(part for part in parts if part in OUTSIDE_BLOCKS)
    sites = tuple(part for part in parts if part in SITES)
    if not blocks and not outside:
        raise DissectError(f"component {label!r} has no parameter block: activations alone are dissect.patch's")
    missing = [site for site in sites if site not in available(model)]
    if missing:
        raise DissectError(
            f"this architecture has no activation site {missing[0]!r}: it has {', '.join(available(model))}"
        )
    inside = [name for block in blocks for name in layer_block_parameters(model, block, 0)]
    twice = [name for name in inside if inside.count(name) > 1]
    if twice:
        raise DissectError(
            f"component {label!r} names {twice[0].removeprefix('blocks.0.')} twice: one block holds another"
        )
    for block in outside:
        outside_block_parameters(model, block)
    return Swapped(label, blocks, outside, sites)
