"""`Relearning`: how fast facts come back that a model is not trained on, as labelled curves."""

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.integrate import trapezoid

from dissect.errors import DissectError
from dissect.statistics.bootstrap import of_sums
from dissect.statistics.relative_difference import agreement
from dissect.statistics.wilson import edge_interval
from dissect.stored_result import StoredDataset

MEASURES = ("probability", "logprob", "exact_match")


class Relearning(StoredDataset):
    """Result of ``dissect.relearn``: how fast facts come back that the model is not trained on.

    ``data`` is an ``xarray.Dataset`` with, for each fact while it is held out from training,

    - ``probability`` (model, step, fact): the answer's probability, exp of the mean log p of its tokens
    - ``logprob``: that mean, in nats a token
    - ``exact_match``: 1 where every token of the answer is the most likely one

    and besides ``trained`` (model, step, fact), the probability in the runs that do train on the fact (absent where
    other facts are trained on); ``loss`` (model, fold, training_step); ``base_<measure>`` (fact) in the model before
    unlearning, where it was given. ``fold`` and ``group`` say when a fact is held out, and with which others.
    Intervals draw whole groups.
    """

    FORMAT = "dissect-relearning-1"
    WRITER = "Relearning.save"

    @property
    def models(self) -> list[str]:
        """``model``, and ``control`` where there is one."""
        return [str(name) for name in self.data["model"].values]

    def curve(self, of: str = "probability", *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Mean over the held-out facts at each step: ``model``, ``step``, ``value``, ``low``, ``high``, ``n``.

        With a control also ``difference``: the model less the control over the same facts, paired.
        """
        self._check(of)
        rows = []
        for name, values in self._compared(of).items():
            share = name != "difference"
            for step, each in zip(self.data["step"].values, values, strict=True):
                rows.append({"model": name, "step": int(step), **self._mean(each, level, seed, share), "n": len(each)})
        return pd.DataFrame(rows)

    def table(self, of: str = "probability", *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """A row for each model and, with a control, one for the difference (model less control, paired).

        ``start`` and ``end`` of the curve; ``gain``, their difference; ``area``, the gain averaged over the steps
        (trapezoidal); ``recovered``, (end - start) / (base - start) of the means, where the base model was given: 0 as
        before, 1 as the base model. Each with ``_low`` and ``_high``.
        """
        self._check(of)
        rows = []
        for name, values in self._compared(of).items():
            gain = values - values[0]
            columns = {
                "start": values[0],
                "end": values[-1],
                "gain": gain[-1],
                "area": trapezoid(gain, self.data["step"].values, axis=0) / int(self.data["step"][-1]),
            }
            row: dict[str, Any] = {"model": name}
            for key, each in columns.items():
                estimate = self._mean(each, level, seed, name != "difference" and key in ("start", "end"))
                row |= {key: estimate["value"], f"{key}_low": estimate["low"], f"{key}_high": estimate["high"]}
            if f"base_{of}" in self.data and name != "difference":
                row |= self._recovered(values, self.data[f"base_{of}"].values, level, seed)
            rows.append(row)
        return pd.DataFrame(rows)

    def agreement(self, of: str = "probability") -> float:
        """R of the UDS paper: 1 - clip(|Δ_model - Δ_control| / (|Δ_model| + |Δ_control|)), Δ the gain at the end.

        1: training moved the model as it moved the control; 0: one of them alone, or in opposite directions.

        Raises:
            DissectError: there is no control.
        """
        self._check(of)
        if "control" not in self.models:
            raise DissectError("there is no control to compare with: relearn(..., control=model)")
        gains = (self.data[of].isel(step=-1) - self.data[of].isel(step=0)).mean("fact")
        return agreement(float(gains.sel(model="model")), float(gains.sel(model="control")))

    def taught(self, *, level: float = 0.95, seed: int = 0) -> dict[str, float] | None:
        """Return the share that the facts trained on regain of what they had lost: (end - start) / (base - start).

        The ratio is one of means. Far below 1 the attack was too weak for its effect on other facts to mean anything.
        None where the model is trained on other facts, or no base model was given.
        """
        if "trained" not in self.data or "base_probability" not in self.data:
            return None
        values = self.data["trained"].sel(model="model").values
        recovered = self._recovered(values, self.data["base_probability"].values, level, seed)
        return {key.replace("recovered", "taught"): value for key, value in recovered.items()}

    def beside(self, control: "Relearning") -> "Relearning":
        """Return the result with the model of another result as its control.

        Raises:
            DissectError: they were not trained and tested alike.
        """
        first, second = ({k: v for k, v in each.spec.items() if k != "models"} for each in (self, control))
        if first != second:
            key = next(k for k in first if first[k] != second.get(k))
            raise DissectError(f"these relearnings differ in {key}: {first[key]!r} and {second.get(key)!r}")
        names = [name for name in self.data.data_vars if "model" in self.data[name].dims]
        own, other = self.data.sel(model=["model"]), control.data.sel(model=["model"])[names]
        joined = xr.concat([own[names], other.assign_coords(model=["control"])], dim="model")
        models = {"model": self.spec["models"]["model"], "control": control.spec["models"]["model"]}
        attrs = {**self.data.attrs, "spec": json.dumps(self.spec | {"models": models})}
        return Relearning(joined.merge(own.drop_vars([*names, "model"])).assign_attrs(attrs))

    def __repr__(self) -> str:
        sizes = self.data.sizes
        what = f"Relearning({', '.join(self.models)}; {sizes['fact']} held-out facts, steps 0 to "
        return f"{what}{int(self.data['step'][-1])})\n{self.table().round(3).to_string(index=False)}"

    def _repr_html_(self) -> str:
        return self.table().round(3).to_html(index=False, escape=True)

    def _compared(self, of: str) -> dict[str, Float[np.ndarray, "step fact"]]:
        values = {name: self.data[of].sel(model=name).values for name in self.models}
        return values | ({"difference": values["model"] - values["control"]} if "control" in values else {})

    def _mean(self, each: Float[np.ndarray, " fact"], level: float, seed: int, share: bool) -> dict[str, float]:
        columns, groups = np.stack([each, np.ones_like(each)], axis=1), self.data["group"].values
        ends = edge_interval(each, groups=groups, level=level) if share else None
        low, high = ends or of_sums(columns, _ratio, groups=groups, level=level, seed=seed)
        return {"value": float(each.mean()), "low": low, "high": high}

    def _recovered(
        self, values: Float[np.ndarray, "step fact"], base: Float[np.ndarray, " fact"], level: float, seed: int
    ) -> dict[str, float]:
        columns = np.stack([values[-1] - values[0], base - values[0]], axis=1)
        gained, missing = columns.sum(0)
        low, high = of_sums(columns, _ratio, groups=self.data["group"].values, level=level, seed=seed)
        value = gained / missing if missing else float("nan")
        return {"recovered": float(value), "recovered_low": low, "recovered_high": high}

    def _check(self, of: str) -> None:
        if of not in MEASURES:
            raise DissectError(f"relearning did not measure {of!r}: choose from {', '.join(MEASURES)}")


def _ratio(sums: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "..."]:
    return sums[..., 0] / sums[..., 1]
