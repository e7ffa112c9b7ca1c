"""Cells of a sweep: which intervention stands at which place of the result."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dissect.errors import DissectError
from dissect.sweep.intervention import Intervention

Layers = int | Iterable[int] | Iterable[Collection[int]]
"""Centres of windows, one or several, or whole sets of layers that are swapped together."""
Label = int | float | str
Group = int | Sequence[int]
"""One head or neuron, or several that are swapped together."""


@dataclass(frozen=True)
class Cell:
    """One intervention and its coordinates in the result."""

    component: str
    """What is swapped, for instance ``mlp_post`` or ``mlp.W_out``."""
    layer: Label
    """The centre of the window, or the members where sets of layers were asked for."""
    members: tuple[int, ...]
    """The layers that are really swapped: windows are cut off at the first and the last layer."""
    intervention: Intervention
    coords: Mapping[str, Label] = field(default_factory=dict, hash=False)
    """Further coordinates, such as ``head`` or ``position``; the same dimensions in all cells of a sweep."""


def windows(layers: Layers | None, width: int, n_layers: int) -> list[tuple[Label, tuple[int, ...]]]:
    """Label and members of each window: around all layers, around some, or sets given as they are.

    Raises:
        DissectError: a width that has no centre, nothing asked for, a layer that does not exist or is named twice.
    """
    if width < 1 or width % 2 == 0:
        raise DissectError(f"window={width}: a window has a centre, so its width is an odd number such as 1, 3 or 5")
    layers = range(n_layers) if layers is None else [layers] if isinstance(layers, int) else layers
    asked: list = list(layers)
    if not asked:
        raise DissectError("layers=[] leaves nothing to sweep: name some layers, or leave it out for all of them")
    chosen = [_window(one, width, n_layers) for one in asked]
    if not all(isinstance(label, int) for label, _ in chosen):  # numbers or names, never both on one axis
        chosen = [(str(label), members) for label, members in chosen]
    labels = [label for label, _ in chosen]
    if len(set(labels)) != len(labels):
        raise DissectError(f"layers={asked} names a layer twice")
    return chosen


def _window(asked: int | Collection[int], width: int, n_layers: int) -> tuple[Label, tuple[int, ...]]:
    members = (asked,) if isinstance(asked, int) else tuple(sorted(set(asked)))
    if not members:
        raise DissectError("layers holds an empty set: name at least one layer in each")
    wrong = [layer for layer in members if not 0 <= layer < n_layers]
    if wrong:
        raise DissectError(f"no layer {wrong[0]}: the model has layers 0 to {n_layers - 1}")
    if isinstance(asked, int):
        half = width // 2
        return asked, tuple(range(max(0, asked - half), min(n_layers, asked + half + 1)))
    return ",".join(map(str, members)), members


def width_of(chosen: Sequence[tuple[Label, tuple[int, ...]]], width: int) -> int | None:
    """The width of the windows, for the record; None where the layers were given as sets."""
    return width if all(isinstance(label, int) for label, _ in chosen) else None


def check_unique(labels: Sequence[str], what: str) -> None:
    """Refuse a list that names a thing twice or is empty: the result has one place for each."""
    if not labels:
        raise DissectError(f"{what}=[] leaves nothing to sweep: name at least one")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise DissectError(f"{what} names {twice[0]!r} twice")


def groups(asked: str | int | Iterable[Group], count: int, what: str) -> list[tuple[Label, tuple[int, ...]]]:
    """Label and members of each group of heads or neurons; ``each`` stands for all of them, each apart.

    Raises:
        DissectError: one that does not exist, an empty group, none at all, or one named twice.
    """
    if isinstance(asked, str):
        if asked != "each":
            raise DissectError(f"{what}s={asked!r}: give 'each', or numbers from 0 to {count - 1}")
        return [(one, (one,)) for one in range(count)]
    found: list[tuple[Label, tuple[int, ...]]] = []
    for one in [asked] if isinstance(asked, int) else asked:
        members = (one,) if isinstance(one, int) else tuple(dict.fromkeys(one))
        wrong = [member for member in members if not 0 <= member < count]
        if wrong:
            raise DissectError(f"no {what} {wrong[0]}: there are {count}, from 0 to {count - 1}")
        if not members:
            raise DissectError(f"an empty group of {what}s: name at least one in each")
        found.append((one if isinstance(one, int) else ",".join(map(str, members)), members))
    if not all(isinstance(label, int) for label, _ in found):  # numbers or names, never both on one axis
        found = [(str(label), members) for label, members in found]
    labels = [label for label, _ in found]
    if not found or len(set(labels)) != len(labels):
        raise DissectError(f"{what}s: name at least one, and none twice")
    return found
