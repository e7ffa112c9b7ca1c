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


Windows = list[tuple[Label, tuple[int, ...]]]
"""Label on the axis of layers, and the layers, of each set that is swapped together."""


@dataclass(frozen=True)
class GridPoint:
    """Coordinates of one value in a result."""

    component: str
    """The sites or blocks swapped, for instance ``mlp_post`` or ``mlp.W_out``."""
    layer: Label
    """The centre of the window, or the members where sets of layers were asked for."""
    members: tuple[int, ...]
    """The layers that are really swapped: windows are cut off at the first and the last layer."""
    coords: Mapping[str, Label] = field(default_factory=dict, hash=False)
    """Further coordinates, such as ``head`` or ``position``; the same dimensions in all cells of a sweep."""


@dataclass(frozen=True)
class Cell(GridPoint):
    """An intervention, and where its measured value stands in the result."""

    intervention: Intervention = field(kw_only=True)


def windows(layers: Layers | None, width: int, n_layers: int) -> Windows:
    """Label and members of each window: around all layers, around some, or sets as they are given.

    Raises:
        DissectError: a width that has no centre, nothing asked for, a layer that does not exist or is named twice.
    """
    if width < 1 or width % 2 == 0:
        raise DissectError(f"window={width}: a window has a centre, so its width is an odd number such as 1, 3 or 5")
    layers = range(n_layers) if layers is None else [layers] if isinstance(layers, int) else layers
    centres: list = list(layers)
    if not centres:
        raise DissectError("layers=[] leaves nothing to sweep: name some layers, or leave it out for all of them")
    layer_sets = _one_kind([_window(centre, width, n_layers) for centre in centres])
    labels = [label for label, _ in layer_sets]
    if len(set(labels)) != len(labels):
        raise DissectError(f"layers={centres} names a layer twice")
    return layer_sets


def _one_kind(labelled: Windows) -> Windows:
    """Labels that are all numbers or all names: never both on one axis."""
    if all(isinstance(label, int) for label, _ in labelled):
        return labelled
    return [(str(label), members) for label, members in labelled]


def _window(centre: int | Collection[int], width: int, n_layers: int) -> tuple[Label, tuple[int, ...]]:
    members = (centre,) if isinstance(centre, int) else tuple(sorted(set(centre)))
    if not members:
        raise DissectError("layers holds an empty set: name at least one layer in each")
    wrong = [layer for layer in members if not 0 <= layer < n_layers]
    if wrong:
        raise DissectError(f"no layer {wrong[0]}: the model has layers 0 to {n_layers - 1}")
    if isinstance(centre, int):
        half = width // 2
        return centre, tuple(range(max(0, centre - half), min(n_layers, centre + half + 1)))
    return ",".join(map(str, members)), members


def width_of(layer_sets: Windows, width: int) -> int | None:
    """The width of the windows, for the record; None where the layers were given as sets."""
    return width if all(isinstance(label, int) for label, _ in layer_sets) else None


def check_unique(labels: Sequence[str], what: str) -> None:
    """Refuse a list that names a thing twice or is empty: the result has one place for each."""
    if not labels:
        raise DissectError(f"{what}=[] leaves nothing to sweep: name at least one")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise DissectError(f"{what} names {twice[0]!r} twice")


def groups(wanted: str | int | Iterable[Group], count: int, what: str) -> list[tuple[Label, tuple[int, ...]]]:
    """Label and members of each group of heads or neurons; ``each`` stands for all of them, each apart.

    Raises:
        DissectError: one that does not exist, an empty group, none at all, or one named twice.
    """
    if isinstance(wanted, str):
        if wanted != "each":
            raise DissectError(f"{what}s={wanted!r}: give 'each', or numbers from 0 to {count - 1}")
        return [(number, (number,)) for number in range(count)]
    labelled: list[tuple[Label, tuple[int, ...]]] = []
    for group in [wanted] if isinstance(wanted, int) else wanted:
        members = (group,) if isinstance(group, int) else tuple(dict.fromkeys(group))
        wrong = [member for member in members if not 0 <= member < count]
        if wrong:
            raise DissectError(f"no {what} {wrong[0]}: there are {count}, from 0 to {count - 1}")
        if not members:
            raise DissectError(f"an empty group of {what}s: name at least one in each")
        labelled.append((group if isinstance(group, int) else ",".join(map(str, members)), members))
    labelled = _one_kind(labelled)
    labels = [label for label, _ in labelled]
    if not labelled or len(set(labels)) != len(labels):
        raise DissectError(f"{what}s: name at least one, and none twice")
    return labelled
