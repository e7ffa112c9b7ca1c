"""The result of a sweep: labelled numbers that can be saved, joined and drawn without any model."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.metrics.metric import Metric
from dissect.sweep import statistics, storage
from dissect.sweep.grid import Cell
from dissect.sweep.provenance import versions

FORMAT = "dissect-sweep-1"


class SweepResult:
    """Values of one or more metrics for each cell and prompt, and for both models as they are.

    ``data`` is an ``xarray.Dataset``. For each metric ``m`` it holds

    - ``m`` (component, layer, prompt): its value in the patched recipient. Where the sweep went over them, ``position``,
      ``head`` or ``neurons`` are further dimensions before the prompt.
    - ``m_recipient`` and ``m_donor`` (prompt): its value in the two models unpatched

    and besides ``members`` (component, layer), the layers swapped in each cell, and ``n_scored`` (prompt), the number of
    scored tokens. ``data.attrs`` tell how it was made.
    """

    def __init__(self, data: xr.Dataset) -> None:
        self.data = data

    @classmethod
    def assemble(
        cls,
        cells: Sequence[Cell],
        values: Mapping[str, np.ndarray],
        prompts: Prompts,
        metrics: Sequence[Metric],
        n_scored: np.ndarray,
        spec: Mapping[str, Any],
    ) -> "SweepResult":
        """Put the runner's rows (recipient, donor, cells in their order) into their places.

        The grid is components x layers x whatever further coordinates the cells have; where it has no cell the value
        is NaN.
        """
        axes = _axes(cells)
        dims = tuple(axes)
        shape = tuple(len(labels) for labels in axes.values())
        at = {dim: {label: place for place, label in enumerate(labels)} for dim, labels in axes.items()}
        places = [tuple(at[dim][label] for dim, label in _coordinates(cell).items()) for cell in cells]
        members = np.full(shape[:2], "", dtype=object)
        for place, cell in zip(places, cells, strict=True):
            members[place[:2]] = ",".join(map(str, cell.members))
        variables: dict[str, Any] = {"members": (dims[:2], members.astype(str))}
        for name, rows in values.items():
            grid = np.full((*shape, rows.shape[1]), np.nan)
            for place, row in zip(places, rows[2:], strict=True):
                grid[place] = row
            variables |= {
                name: ((*dims, "prompt"), grid),
                f"{name}_recipient": ("prompt", rows[0]),
                f"{name}_donor": ("prompt", rows[1]),
            }
        coords = {
            **axes,
            "prompt": np.arange(len(prompts)),
            "prompt_text": ("prompt", np.array(prompts.prompt_texts, dtype=str)),
            "answer_text": ("prompt", np.array(prompts.answer_texts, dtype=str)),
            "n_scored": ("prompt", n_scored),
        }
        attrs = {
            "format": FORMAT,
            "spec": json.dumps(dict(spec)),
            "metrics": json.dumps({m.name: {"label": m.label, "unit": m.unit, "better": m.better} for m in metrics}),
            "prompts": prompts.fingerprint(),
            "versions": json.dumps(versions()),
        }
        return cls(xr.Dataset(variables, coords=coords, attrs=attrs))

    @property
    def metrics(self) -> dict[str, dict[str, str]]:
        """Name of each metric to its label, unit and which direction is better."""
        return json.loads(self.data.attrs["metrics"])

    @property
    def spec(self) -> dict[str, Any]:
        """How the sweep was made: window, direction, scoring, checkpoints."""
        return json.loads(self.data.attrs["spec"])

    @property
    def versions(self) -> dict[str, str]:
        """With which Python and packages it was computed."""
        return json.loads(self.data.attrs["versions"])

    def values(self, metric: str = "krs") -> xr.DataArray:
        """The metric itself in the patched recipient, (component, layer, prompt).

        Raises:
            DissectError: the sweep did not measure it.
        """
        self._check_metric(metric)
        return self.data[metric]

    def recovery(self, metric: str = "krs") -> xr.DataArray:
        """(m(patched) - m(recipient)) / (m(donor) - m(recipient)), (component, layer, prompt).

        1: as the donor; 0: as the unpatched recipient; below 0: further away from the donor than without the patch.
        For a distance to the donor, which is 0 in the donor itself, this is 1 - loss(patched) / loss(recipient); with
        the squared difference of logits, the KRS of Hong et al. (2024). NaN for prompts on which both models are
        equal, because there is nothing to recover.
        """
        self._check_metric(metric)
        recipient, gap = self._ends(metric)
        recovery = (self.data[metric] - recipient) / gap.where(gap != 0)
        return recovery.transpose(*self.data[metric].dims).rename(f"{metric}_recovery")

    def pooled(self, metric: str = "krs") -> xr.DataArray:
        """Σ (m(patched) - m(recipient)) / Σ (m(donor) - m(recipient)), the ratio of sums over prompts.

        The mean of per-prompt ratios is dominated by prompts that hardly changed; this is not.
        """
        self._check_metric(metric)
        recipient, gap = self._ends(metric)
        total = gap.sum("prompt")
        return ((self.data[metric] - recipient).sum("prompt", skipna=False) / total.where(total != 0)).rename("pooled")

    def ci(self, metric: str = "krs", *, level: float = 0.95, seed: int = 0) -> xr.Dataset:
        """Recovery over prompts: ``mean``, ``low`` and ``high`` (percentile bootstrap), ``pooled``, and counts.

        ``n`` prompts entered and ``n_undefined`` had nothing to recover. With fewer than two prompts there is no
        interval (NaN).
        """
        recovery = self.recovery(metric)
        table = statistics.interval(recovery, level=level, seed=seed)
        table["pooled"] = self.pooled(metric)
        return table.assign_attrs(metric=metric, level=level, seed=seed)

    def to_dataframe(self, metric: str = "krs") -> pd.DataFrame:
        """One row for each cell and prompt: the metric, its value in both models, the recovery, the layers swapped."""
        parts = {
            "value": self.values(metric),
            "recipient": self.data[f"{metric}_recipient"],
            "donor": self.data[f"{metric}_donor"],
            "recovery": self.recovery(metric),
            "members": self.data["members"],
        }
        broadcast = xr.broadcast(*parts.values())
        return xr.Dataset(dict(zip(parts, broadcast, strict=True))).to_dataframe().reset_index()

    def rename(self, names: Mapping[str, str]) -> "SweepResult":
        """The same with components renamed, for instance to join two windows of one component.

        Raises:
            DissectError: there is no component of one of the names.
        """
        labels = [str(label) for label in self.data["component"].values]
        unknown = sorted(set(names) - set(labels))
        if unknown:
            raise DissectError(f"no component {unknown[0]!r} to rename: there are {', '.join(labels)}")
        return SweepResult(self.data.assign_coords(component=[names.get(label, label) for label in labels]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write netCDF; an existing file is replaced whole or not at all."""
        storage.save(self.data, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SweepResult":
        """Read what ``save`` wrote; no model is needed.

        Raises:
            DissectError: no such file, or not a sweep.
        """
        return cls(storage.load(path, FORMAT))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{self.data.sizes[dim]} {dim}s" for dim in self.data[next(iter(self.metrics))].dims)
        components = ", ".join(str(label) for label in self.data["component"].values)
        return f"SweepResult({sizes}; components {components}; metrics {', '.join(self.metrics)})"

    def _repr_html_(self) -> str:
        from dissect.sweep.display import html  # it reads results, so it cannot be imported before them

        return html(self)

    def _ends(self, metric: str) -> tuple[xr.DataArray, xr.DataArray]:
        recipient = self.data[f"{metric}_recipient"]
        return recipient, self.data[f"{metric}_donor"] - recipient

    def _check_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            raise DissectError(f"the sweep did not measure {metric!r}: it has {', '.join(self.metrics)}")


def _coordinates(cell: Cell) -> dict[str, Any]:
    return {"component": cell.component, "layer": cell.layer, **cell.coords}


def _axes(cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """The labels of each dimension: numbers in order, names as they come."""
    axes: dict[str, list[Any]] = {}
    for dim in _coordinates(cells[0]):
        labels = list(dict.fromkeys(_coordinates(cell)[dim] for cell in cells))
        axes[dim] = sorted(labels) if all(isinstance(label, int) for label in labels) else labels
    return axes
