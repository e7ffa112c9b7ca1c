"""The layers that are swapped together in each cell of a parameter sweep."""

from collections.abc import Sequence

import numpy as np

from dissect.errors import DissectError
from dissect.sweep.grid import Layers, Windows, windows

SCOPES = ("windows", "from_last", "from_first", "all_but")
"""``windows``: the layers around each centre. ``from_last``: each layer and all after it. ``from_first``: each layer
and all before it. ``all_but``: everything in the checkpoint but the component in the window's layers."""


def scoped(layers: Layers | None, width: int, n_layers: int, scope: str) -> Windows:
    """Label and layers of each cell; with ``all_but`` the layers are those that are left out.

    Raises:
        DissectError: an unknown scope, or as ``windows``; sets of layers where the scope makes its own.
    """
    if scope not in SCOPES:
        raise DissectError(f"no scope {scope!r}: choose from {', '.join(SCOPES)}")
    layer_sets = windows(layers, width, n_layers)
    if scope in ("windows", "all_but"):
        return layer_sets
    labels = [label for label, _ in layer_sets]
    if not all(isinstance(label, int) for label in labels):
        raise DissectError(f"scope={scope!r} adds up layers from one end: give single layers, not sets")
    if scope == "from_last":
        return [(label, tuple(range(int(label), n_layers))) for label in labels]
    return [(label, tuple(range(int(label) + 1))) for label in labels]


def elsewhere(layer_sets: Windows, n_layers: int, seed: int) -> Windows:
    """Draw as many random layers as each cell has, outside its own; cells that leave too few are left out."""
    generator = np.random.default_rng(seed)
    drawn: Windows = []
    for label, members in layer_sets:
        others = [layer for layer in range(n_layers) if layer not in members]
        picked = generator.permutation(others)[: len(members)]
        if len(picked) == len(members):
            drawn.append((label, tuple(sorted(int(layer) for layer in picked))))
    return drawn


def swapped_names(everything: Sequence[str], names: Sequence[str], scope: str) -> tuple[str, ...]:
    """The parameters that a cell swaps, from those of its component."""
    if scope != "all_but":
        return tuple(names)
    left_out = frozenset(names)
    return tuple(name for name in everything if name not in left_out)
