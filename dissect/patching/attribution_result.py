"""A sweep that was estimated, with what is known of how good the estimate is."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dissect.sweep.results.sweep_result import SweepResult


class AttributionResult(SweepResult):
    """A ``SweepResult`` whose values are first-order estimates.

    All that a sweep can do it can: ``recovery``, ``ci``, ``save``, figures, and ``concat`` after ``rename``. With
    ``attribute(..., check=n)`` some cells were patched exactly as well.
    """

    @property
    def agreement(self) -> float | None:
        """Spearman's rank correlation of estimate and exact patch over the cells that were checked; None without."""
        return float(self.data.attrs["agreement"]) if "agreement" in self.data.attrs else None

    @property
    def n_checked(self) -> int:
        """Number of cells that were patched exactly."""
        return int(self.data.attrs.get("n_checked", 0))

    @property
    def checked(self) -> pd.DataFrame:
        """One row for each cell that was checked: its coordinates, ``estimate`` and ``exact`` (changes of the metric,
        means over prompts)."""
        return pd.DataFrame(json.loads(self.data.attrs.get("checked", "[]")))

    def refined(
        self, metric: str, dim: str, values: np.ndarray, axes: Sequence[Sequence[int | float | str]]
    ) -> "AttributionResult":
        """Return this result with a further dimension ``dim`` before the prompt.

        Args:
            values: (component, layer, ``dim``, prompt)
            axes: the labels of the first three.
        """
        dims = ("component", "layer", dim)
        labels: dict[Any, Any] = {name: list(axis) for name, axis in zip(dims, axes, strict=True)}
        table = xr.DataArray(values, dims=(*dims, "prompt"), coords=labels)
        order = {name: self.data[name] for name in ("component", "layer")}
        return AttributionResult(self.data.drop_vars(metric).assign({metric: table.reindex(order)}))

    def __repr__(self) -> str:
        return super().__repr__().replace("SweepResult(", "AttributionResult(", 1)[:-1] + f"; {self._quality()})"

    def _repr_html_(self) -> str:
        return f"<p>First-order estimates; {escape(self._quality())}</p>{super()._repr_html_()}"

    def _quality(self) -> str:
        if self.agreement is None:
            return "not checked against exact patches"
        return f"rank agreement with exact patches {self.agreement:.2f} over {self.n_checked} cells"
