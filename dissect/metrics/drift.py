"""The drift map: what unlearning did to each block of weights, and how much of it rounding would undo."""

import os
from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from dissect import netcdf
from dissect.models.alignment import compare
from dissect.models.axes import as_matrix
from dissect.models.pair import ModelPair
from dissect.models.parameters import stored_layer_blocks, stored_outside_blocks
from dissect.models.rounding import int8_levels, nf4_levels
from dissect.models.spectrum import singular_values
from dissect.models.stored import StoredParameters

FORMAT = "dissect-drift-1"
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
"""What is measured, W in the base model and W' in the unlearned one."""

Find = Callable[[str], Float[Tensor, "..."]]


class Drift:
    """How far the weights of a pair are apart, block by block.

    ``layers`` is an ``xarray.Dataset`` over (block, layer), ``outside`` one over (block) for what stands outside the
    layers; their variables are ``MEASURES``. ``plots.heatmap(drift, "stable_rank")`` draws one.

    - ``moved`` counts weights that differ at all; ``moved_8bit`` and ``moved_4bit`` those that still differ when both
      models are rounded: to the nearest of 255 levels with one scale an output channel, and to NF4 with one scale for
      64 weights. A change below the step of a quantisation is undone by it. NaN for vectors, which are not quantised.
    - ``stable_rank`` and ``effective_rank`` (Roy and Vetterli 2007) say how many directions the change has: 1 for a
      change of rank 1, the width of the matrix for noise. NaN where nothing changed, and for blocks of vectors.
    """

    def __init__(self, layers: xr.Dataset, outside: xr.Dataset) -> None:
        self.layers, self.outside = layers, outside

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write netCDF; an existing file is replaced whole or not at all."""
        outside = self.outside.rename({name: f"outside_{name}" for name in self.outside.data_vars})
        data = xr.merge([self.layers, outside.rename(block="outside_block")])
        netcdf.save(data.assign_attrs(self.layers.attrs | {"format": FORMAT}), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Drift":
        """Read what ``save`` wrote; no model is needed.

        Raises:
            DissectError: no such file, or not a drift map.
        """
        data = netcdf.load(path, FORMAT)
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


def drift(pair: ModelPair, *, spectra: bool = True, progress: bool = True) -> Drift:
    """Measure how far each block of the unlearned model is from the base model's.

    Args:
        spectra: whether to find singular values, which is most of the work: O(rows² · columns) a matrix.
        progress: show a bar over the blocks.

    While the pair holds one model at a time, the base model's tensors are read from its files one by one.
    """
    if pair.one_at_a_time:
        pair.wake(pair.unlearned)
        base: Find = StoredParameters.of(pair.base).parameter
    else:
        base = pair.base.get_parameter
    inside, outside = stored_layer_blocks(pair.unlearned), stored_outside_blocks(pair.unlearned)
    chosen = [name for name in MEASURES if spectra or name not in _SPECTRAL]
    with tqdm(total=len(inside) * pair.unlearned.cfg.n_layers + len(outside), disable=not progress) as bar:
        bar.set_description("drift")

        def measured(names: Sequence[str]) -> dict[str, float]:
            found = _measured(base, pair.unlearned.get_parameter, names, spectra)
            bar.update()
            return found

        grid = {block: [measured(names) for names in layers] for block, layers in inside.items()}
        single = {block: measured(names) for block, names in outside.items()}
    tables = {name: np.array([[cell[name] for cell in row] for row in grid.values()]) for name in chosen}
    layers = xr.Dataset(
        {name: (("block", "layer"), table) for name, table in tables.items()},
        coords={"block": list(grid), "layer": list(range(pair.unlearned.cfg.n_layers))},
        attrs=pair.provenance(),
    )
    rest = xr.Dataset(
        {name: ("block", np.array([cell[name] for cell in single.values()])) for name in chosen},
        coords={"block": list(single)},
    )
    return Drift(layers, rest)


def _shown(name: str, value: float) -> str:
    return "-" if np.isnan(value) else format(value, ".6f" if name == "cosine" else ".3g")


_SPECTRAL = ("spectral_norm", "relative_spectral_norm", "stable_rank", "effective_rank")


@torch.no_grad()
def _measured(base: Find, other: Find, names: Sequence[str], spectra: bool) -> dict[str, float]:
    """All measures over the parameters ``names`` together; those of a matrix where they are one."""
    found = dict.fromkeys(MEASURES, np.nan)
    if not names:
        return found
    found["relative_norm"], found["cosine"], found["moved"] = compare(base, other, names)
    matrices = [name for name in names if other(name).ndim > 1]
    if matrices:
        found["moved_8bit"], found["moved_4bit"] = _moved_after_rounding(base, other, matrices)
    if len(matrices) == 1 and spectra:
        found |= _spectral(matrices[0], base(matrices[0]), other(matrices[0]))
    return found


def _moved_after_rounding(base: Find, other: Find, names: Iterable[str]) -> tuple[float, float]:
    moved8 = moved4 = count = 0
    for name in names:
        # embeddings are stored with a token a row, everything else with an output channel a row
        ours, theirs = (as_matrix(name, find(name)) for find in (base, other))
        if not name.startswith(("embed.", "pos_embed.")):
            ours, theirs = ours.T, theirs.T
        theirs = theirs.to(ours.device)
        moved8 += int((int8_levels(ours) != int8_levels(theirs)).sum())
        moved4 += int((nf4_levels(ours) != nf4_levels(theirs)).sum())
        count += ours.numel()
    return moved8 / count, moved4 / count


def _spectral(name: str, ours: Float[Tensor, "..."], theirs: Float[Tensor, "..."]) -> dict[str, float]:
    old = as_matrix(name, ours).float()
    values = singular_values(as_matrix(name, theirs).float().to(old.device) - old)
    largest, before = float(values[0]), float(singular_values(old)[0])
    if not largest:
        return {"spectral_norm": 0.0, "relative_spectral_norm": 0.0}
    shares = values / values.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()
    return {
        "spectral_norm": largest,
        "relative_spectral_norm": largest / before if before else np.inf,
        "stable_rank": float(values.square().sum()) / largest**2,
        "effective_rank": float(entropy.exp()),
    }
