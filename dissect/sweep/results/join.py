"""Putting sweeps side by side."""

import json

import numpy as np
import xarray as xr

from dissect.errors import DissectError
from dissect.sweep.results.sweep_result import SweepResult


def concat(*results: SweepResult) -> SweepResult:
    """One result with the components of all, for instance activations and parameters in one figure.

    They must be of the same two checkpoints, in the same direction, on the same prompts with the same scoring, so
    that a difference between curves is one between components. What differs in how they were made (the window) is
    kept as a list.

    Raises:
        DissectError: nothing given, they do not fit together, or two have a component of the same name.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> activations = dissect.patch(pair, prompts[:4], ["mlp_post"], window=3)
        >>> parameters = dissect.restore(pair, prompts[:4], ["mlp.W_out"], window=3)
        >>> dissect.concat(activations, parameters)
        SweepResult(component 2, layer ..., prompt 4; components mlp_post, mlp.W_out; metrics krs)
    """
    if not results:
        raise DissectError("concat() of nothing: give at least one sweep")
    first = results[0]
    for other in results[1:]:
        _check_fit(first, other)
    labels = [str(label) for result in results for label in result.data["component"].values]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise DissectError(
            f"two sweeps have a component {twice[0]!r}: draw them apart, or give it another name in one "
            "first (SweepResult.rename)"
        )
    metrics = [name for name in first.metrics if all(name in other.metrics for other in results)]
    if not metrics:
        raise DissectError(f"no metric in common: {'; '.join(', '.join(result.metrics) for result in results)}")
    kept = [name for metric in metrics for name in (metric, f"{metric}_recipient", f"{metric}_donor")]
    kept += ["members", *(["token"] if all("token" in result.data for result in results) else [])]
    data = xr.concat(
        [result.data[kept] for result in results],
        dim="component",
        data_vars="minimal",
        coords="minimal",
        compat="override",  # the ends were compared above, to a tolerance that two runs may differ by
        join="outer",
        combine_attrs="override",
        fill_value={"members": "", "token": ""},
    )
    attrs = first.data.attrs | {
        "spec": json.dumps(_merged([result.spec for result in results])),
        "metrics": json.dumps({name: first.metrics[name] for name in metrics}),
    }
    return SweepResult(data.assign_attrs(attrs))


def _check_fit(first: SweepResult, other: SweepResult) -> None:
    if first.data.attrs["prompts"] != other.data.attrs["prompts"]:
        raise DissectError("these sweeps are of different prompts: run them on the same ones")
    for key in ("donor", "recipient", "scoring", "base_fingerprint", "unlearned_fingerprint", "retrained_fingerprint"):
        if first.spec.get(key) != other.spec.get(key):
            raise DissectError(f"these sweeps differ in {key}: {first.spec.get(key)!r} and {other.spec.get(key)!r}")
    for metric in set(first.metrics) & set(other.metrics):
        for end in (f"{metric}_recipient", f"{metric}_donor"):
            if not np.allclose(first.data[end], other.data[end], rtol=1e-3, atol=1e-6, equal_nan=True):
                raise DissectError(f"these sweeps disagree about {end}, the unpatched model: were the weights changed?")


def _merged(specs: list[dict]) -> dict:
    merged = {}
    for key in dict.fromkeys(key for spec in specs for key in spec):
        values = [spec.get(key) for spec in specs]
        merged[key] = values[0] if all(value == values[0] for value in values) else values
    return merged
