"""Distance between the parameters of two checkpoints, block by block."""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import xarray as xr
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.parameters import stored_layer_blocks, stored_outside_blocks
from dissect.models.sharding.shards import gathered
from dissect.undoing.gradient_mode import without_gradients

_MEASURES = ("relative_norm", "cosine", "moved")
_CHUNK = 1 << 24
"""Elements that are brought to float64 at once."""


Find = Callable[[str], Tensor]
"""Maps the name of a parameter to its values."""


class Alignment:
    """The alignment report of a pair.

    ``layers`` is an ``xarray.Dataset`` over (block, layer), ``outside`` one over (block) for what stands outside the
    layers. Both hold, with W the base model's parameters of a block and W' the unlearned model's:

    - ``relative_norm``: ‖W' - W‖ / ‖W‖, 0 for an untouched block
    - ``cosine``: cos(W, W'), 1 for an untouched block
    - ``moved``: share of the parameters that differ at all, 0 to 1

    Parameters that the checkpoints do not have (zeros that TransformerLens adds) do not count.
    """

    def __init__(self, layers: xr.Dataset, outside: xr.Dataset) -> None:
        self.layers = layers
        self.outside = outside

    def __repr__(self) -> str:
        rows = [["block", "layers", "relative change", "cosine", "moved"], *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in ("block", "layers", "relative change", "cosine", "moved"))
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        return f"<table><tr>{head}</tr>{body}</table>"

    def _rows(self) -> list[list[str]]:
        """One row a block: the range over layers and, in brackets, where the change is greatest."""
        rows = []
        for block in self.layers["block"].values:
            part = self.layers.sel(block=block).dropna("layer")
            norms = part["relative_norm"]
            top = int(norms["layer"][int(norms.argmax("layer"))])
            rows.append(
                [
                    str(block),
                    str(part.sizes["layer"]),
                    f"{_span(norms, '.2e')}  (most in layer {top})" if float(norms.max()) > 0 else "none",
                    _span(part["cosine"], ".6f"),
                    _span(part["moved"], ".1%"),
                ]
            )
        for block in self.outside["block"].values:
            part = self.outside.sel(block=block)
            norm = float(part["relative_norm"])
            rows.append(
                [
                    str(block),
                    "-",
                    f"{norm:.2e}" if norm > 0 else "none",
                    f"{float(part['cosine']):.6f}",
                    f"{float(part['moved']):.1%}",
                ]
            )
        return rows


def align(base: HookedTransformer, other: HookedTransformer) -> Alignment:
    """Compare the parameters of two models of the same shapes."""
    ours, theirs = base.get_parameter, other.get_parameter
    inside, outside = stored_layer_blocks(base), stored_outside_blocks(base)
    grid = {block: [compare(ours, theirs, names) for names in blocks] for block, blocks in inside.items()}
    single = {block: compare(ours, theirs, names) for block, names in outside.items()}
    layers = list(range(base.cfg.n_layers))
    return Alignment(
        _dataset(np.array(list(grid.values())), ("block", "layer"), {"block": list(grid), "layer": layers}),
        _dataset(np.array(list(single.values())), ("block",), {"block": list(single)}),
    )


def _dataset(values: np.ndarray, dims: tuple[str, ...], coords: dict[str, list]) -> xr.Dataset:
    return xr.Dataset({name: (dims, values[..., i]) for i, name in enumerate(_MEASURES)}, coords=coords)


@without_gradients()
def compare(base: Find, other: Find, names: Sequence[str]) -> tuple[float, float, float]:
    """Relative norm, cosine and moved share over the parameters ``names`` together, summed in float64."""
    if not names:
        return (np.nan, np.nan, np.nan)
    change = old = new = product = moved = count = 0.0
    for name in names:
        ours, theirs = gathered(base(name)), gathered(other(name))
        for a, b in zip(ours.reshape(-1).split(_CHUNK), theirs.reshape(-1).split(_CHUNK), strict=True):
            a, b = a.double(), b.to(a.device).double()
            change += float((b - a).square().sum())
            old += float(a.square().sum())
            new += float(b.square().sum())
            product += float(a @ b)
            moved += float((a != b).sum())
            count += a.numel()
    relative = (change / old) ** 0.5 if old else (0.0 if not change else np.inf)
    cosine = product / (old * new) ** 0.5 if old and new else (1.0 if not change else np.nan)
    return relative, min(cosine, 1.0), moved / count


def _span(values: xr.DataArray, form: str) -> str:
    low, high = format(float(values.min()), form), format(float(values.max()), form)
    return low if low == high else f"{low} to {high}"
