"""Cells of a sweep: which intervention stands at which place of the result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dissect.errors import DissectError
from dissect.sweep.intervention import Intervention


@dataclass(frozen=True)
class Cell:
    """One intervention and its coordinates in the result."""

    component: str
    """What is swapped, for instance ``mlp_post`` or ``mlp.W_out``."""
    layer: int
    """The centre of the window."""
    members: tuple[int, ...]
    """The layers that are really swapped: windows are cut off at the first and the last layer."""
    intervention: Intervention


def window_members(centre: int, width: int, n_layers: int) -> tuple[int, ...]:
    """The ``width`` layers around ``centre`` that exist; at the ends fewer, and the curve's ends mean less there.

    Raises:
        DissectError: the width is even or not positive.
    """
    if width < 1 or width % 2 == 0:
        raise DissectError(f"window={width}: a window has a centre, so its width is an odd number such as 1, 3 or 5")
    half = width // 2
    return tuple(range(max(0, centre - half), min(n_layers, centre + half + 1)))


def windows(layers: Iterable[int] | None, width: int, n_layers: int) -> list[tuple[int, tuple[int, ...]]]:
    """Each centre layer of a sweep with the members of its window."""
    return [(centre, window_members(centre, width, n_layers)) for centre in centres(layers, n_layers)]


def centres(layers: Iterable[int] | None, n_layers: int) -> tuple[int, ...]:
    """The centre layers of a sweep: all of them unless some are named.

    Raises:
        DissectError: none is named, one twice, or one does not exist.
    """
    chosen = tuple(range(n_layers)) if layers is None else tuple(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < n_layers]
    if wrong:
        raise DissectError(f"no layer {wrong[0]}: the model has layers 0 to {n_layers - 1}")
    if not chosen:
        raise DissectError("layers=[] leaves nothing to sweep: name some layers, or leave it out for all of them")
    if len(set(chosen)) != len(chosen):
        raise DissectError(f"layers={list(chosen)} names a layer twice")
    return chosen


def check_unique(labels: Sequence[str], what: str) -> None:
    """Refuse a list that names a thing twice or is empty: the result has one place for each."""
    if not labels:
        raise DissectError(f"{what}=[] leaves nothing to sweep: name at least one")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise DissectError(f"{what} names {twice[0]!r} twice")
