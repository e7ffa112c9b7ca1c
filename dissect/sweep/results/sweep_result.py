"""The result of a sweep: labelled numbers that can be saved, joined and drawn without any model."""

import json
from collections.abc import Mapping

import pandas as pd
import xarray as xr

from dissect.errors import DissectError
from dissect.stored_result import StoredDataset
from dissect.sweep.results import statistics
from dissect.sweep.results.display import html

_NEXT = "Next: dissect.plots.curves(result), .recovery(), dissect.pick(result) to see single facts"


class SweepResult(StoredDataset):
    """Values of one or more metrics for each cell and prompt, and for both models as they are.

    ``data`` is an ``xarray.Dataset``. For each metric ``m`` it holds

    - ``m`` (component, layer, prompt): its value in the patched recipient. Where the sweep went over them,
      ``position``, ``head`` or ``neurons`` are further dimensions before the prompt.
    - ``m_recipient`` and ``m_donor`` (prompt): its value in the two models unpatched

    and besides ``members`` (component, layer), the layers swapped in each cell, and ``n_scored`` (prompt), the number
    of scored tokens. ``data.attrs`` tell how it was made.
    """

    FORMAT = "dissect-sweep-1"
    WRITER = "`dissect patch`, `restore`, `attribute` or SweepResult.save"

    @property
    def metrics(self) -> dict[str, dict[str, str]]:
        """Name of each metric to its label, unit and which direction is better."""
        return json.loads(self.data.attrs["metrics"])

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
        """Return a copy with components renamed, for instance to join two windows of one component.

        Raises:
            DissectError: there is no component of one of the names.
        """
        labels = [str(label) for label in self.data["component"].values]
        unknown = sorted(set(names) - set(labels))
        if unknown:
            raise DissectError(f"no component {unknown[0]!r} to rename: there are {', '.join(labels)}")
        return SweepResult(self.data.assign_coords(component=[names.get(label, label) for label in labels]))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {self.data.sizes[dim]}" for dim in self.data[next(iter(self.metrics))].dims)
        components = ", ".join(str(label) for label in self.data["component"].values)
        return f"SweepResult({sizes}; components {components}; metrics {', '.join(self.metrics)})"

    def _repr_html_(self) -> str:
        tables = {metric: self.ci(metric) for metric in self.metrics}
        return f"{html(self.data, self.spec, self.metrics, tables)}<p>{_NEXT}</p>"

    def _ends(self, metric: str) -> tuple[xr.DataArray, xr.DataArray]:
        recipient = self.data[f"{metric}_recipient"]
        return recipient, self.data[f"{metric}_donor"] - recipient

    def _check_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            raise DissectError(f"the sweep did not measure {metric!r}: it has {', '.join(self.metrics)}")
