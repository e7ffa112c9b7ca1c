"""Sweeps of one model at several moments of its training, as one result."""

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from dissect.errors import DissectError
from dissect.sweep.results.sweep_result import SweepResult


def over_steps(sweeps: Mapping[int, SweepResult]) -> SweepResult:
    """One result with ``step`` as a further dimension, behind the layers.

    The recipient that each sweep measured is another model at every step, so ``<metric>_recipient`` has the dimension
    as well, and recovery at a step is recovery of the model as it was then.

    Raises:
        DissectError: they differ in prompts, metrics or grid.
    """
    steps = sorted(sweeps)
    first = sweeps[steps[0]]
    for step in steps:
        other = sweeps[step]
        same = other.data.attrs["prompts"] == first.data.attrs["prompts"] and set(other.metrics) == set(first.metrics)
        if not same or dict(other.data.sizes) != dict(first.data.sizes):
            raise DissectError(
                f"the sweep of step {step} has other prompts, metrics or cells than that of step {steps[0]}"
            )
    index = xr.Variable("step", np.array(steps))
    names = [name for m in first.metrics for name in (m, f"{m}_recipient", f"{m}_donor")]
    bare = [sweeps[step].data[names].reset_coords(drop=True) for step in steps]
    stacked = xr.concat(bare, dim=index, data_vars="all", join="override")
    data = first.data.drop_vars(names).assign({name: _behind_layers(stacked[name]) for name in names})
    spec = {key: value for key, value in first.spec.items() if not key.startswith(("recipient_", "unlearned_"))}
    return SweepResult(data.assign_attrs(first.data.attrs | {"spec": json.dumps(spec | {"steps": steps})}))


def _behind_layers(array: xr.DataArray) -> xr.DataArray:
    dims = [dim for dim in array.dims if dim != "step"]
    axis = dims.index("layer") + 1 if "layer" in dims else 0
    return array.transpose(*dims[:axis], "step", *dims[axis:])
