"""`Drift`, the distance between the weights of two checkpoints, block by block."""

from html import escape

import numpy as np
import xarray as xr

from dissect.stored_result import StoredDataset

MEASURES: dict[str, str] = {
    "relative_norm": "‖W' - W‖ / ‖W‖",
    "cosine": "cos(W, W')",
    "moved": "share of weights that differ",
    "moved_8bit": "share that differ after rounding to 8 bits",
    "moved_4bit": "share that differ after rounding to 4 bits",
    "spectral_norm": "‖W' - W‖₂",
    "relative_spectral_norm": "‖W' - W‖₂ / ‖W‖₂",
    "stable_rank": "‖W' - W‖² / ‖W' - W‖₂²",
    "effective_rank": "exp of the entropy of the singular values of W' - W",
}
"""Quantities by name, W in the base model and W' in the unlearned one."""


class Drift(StoredDataset):
    """Distance between the weights of a pair, block by block.

    ``layers`` is an ``xarray.Dataset`` over (block, layer), ``outside`` one over (block) for what stands outside the
    layers; their variables are ``MEASURES``. ``plots.heatmap(drift, "stable_rank")`` draws one.

    - ``moved`` counts weights that differ at all; ``moved_8bit`` and ``moved_4bit`` those that still differ when both
      models are rounded: to the nearest of 255 levels with one scale an output channel, and to NF4 with one scale for
      64 weights. A change below the step of a quantisation is undone by it. NaN for vectors, which are not quantised.
    - ``stable_rank`` and ``effective_rank`` (Roy and Vetterli 2007) say how many directions the change has: 1 for a
      change of rank 1, the width of the matrix for noise. NaN where nothing changed, and for blocks of vectors.
    """

    FORMAT = "dissect-drift-1"
    WRITER = "`dissect inspect --drift` or Drift.save"

    def __init__(self, layers: xr.Dataset, outside: xr.Dataset) -> None:
        self.layers, self.outside = layers, outside

    def to_dataset(self) -> xr.Dataset:
        """Return the content of the file: both tables in one."""
        outside = self.outside.rename({name: f"outside_{name}" for name in self.outside.data_vars})
        data = xr.merge([self.layers, outside.rename(block="outside_block")])
        return data.assign_attrs(self.layers.attrs | {"format": self.FORMAT})

    @classmethod
    def from_dataset(cls, data: xr.Dataset) -> "Drift":
        """Build the map from the content of a file."""
        data.attrs.pop("format")
        names = [str(name) for name in data.data_vars if not str(name).startswith("outside_")]
        outside = data[[f"outside_{name}" for name in names]].rename(outside_block="block").drop_attrs()
        return cls(data[names], outside.rename({f"outside_{name}": name for name in names}))

    def __repr__(self) -> str:
        rows = [["block", *self.layers.data_vars], *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(["Drift: means over layers", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(str(name))}</th>" for name in ("block", *self.layers.data_vars))
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        return f"<p><b>Drift</b>: means over layers</p><table><tr>{head}</tr>{body}</table>"

    def _rows(self) -> list[list[str]]:
        tables = (self.layers.mean("layer"), self.outside)
        return [
            [str(block), *(_shown(str(name), float(v)) for name, v in table.sel(block=block).data_vars.items())]
            for table in tables
            for block in table["block"].values
        ]


def _shown(name: str, value: float) -> str:
    return "-" if np.isnan(value) else format(value, ".6f" if name == "cosine" else ".3g")
