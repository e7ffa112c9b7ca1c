"""Rows of a run, put into a labelled result."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from dissect.data.prompts import Prompts
from dissect.data.token_table import token_table
from dissect.errors import DissectError
from dissect.metrics.metric import Metric
from dissect.provenance import versions
from dissect.sweep.grid import GridPoint
from dissect.sweep.results.sweep_result import SweepResult

_COORDINATES = ("prompt", "prompt_text", "question", "answer_text", "n_scored")


def check_names(points: Sequence[GridPoint], metrics: Sequence[Metric]) -> None:
    """Refuse a name that would mean two things in the result, before the sweep rather than after it.

    Raises:
        DissectError: a metric's name is that of a dimension, of a coordinate or of another metric's value in a model.
    """
    taken = {"members", *_COORDINATES, *(dim for point in points for dim in _coordinates(point))}
    taken |= {f"{metric.name}_{end}" for metric in metrics for end in ("recipient", "donor")}
    for metric in metrics:
        if metric.name in taken:
            raise DissectError(
                f"a metric is called {metric.name!r}, as something else in the result is: give it another name"
            )


def assemble(
    points: Sequence[GridPoint],
    values: Mapping[str, np.ndarray],
    prompts: Prompts,
    metrics: Sequence[Metric],
    n_scored: np.ndarray,
    spec: Mapping[str, Any],
) -> SweepResult:
    """Put rows of values (recipient, donor, then ``points`` in their order) into a labelled grid.

    The grid is components x layers x whatever further coordinates the points have; where it has no point the value
    is NaN.
    """
    axes = _axes(points)
    dims = tuple(axes)
    shape = tuple(len(labels) for labels in axes.values())
    index_of = {dim: {label: number for number, label in enumerate(labels)} for dim, labels in axes.items()}
    indices = [tuple(index_of[dim][label] for dim, label in _coordinates(point).items()) for point in points]
    members = np.full(shape[:2], "", dtype=object)
    for index, point in zip(indices, points, strict=True):
        members[index[:2]] = ",".join(map(str, point.members))
    variables: dict[str, Any] = {"members": (dims[:2], members.astype(str))}
    for name, rows in values.items():
        grid = np.full((*shape, rows.shape[1]), np.nan)
        for index, row in zip(indices, rows[2:], strict=True):
            grid[index] = row
        variables |= {
            name: ((*dims, "prompt"), grid),
            f"{name}_recipient": ("prompt", rows[0]),
            f"{name}_donor": ("prompt", rows[1]),
        }
    if "position" in axes and prompts.tokenizer is not None:
        variables["token"] = (("position", "prompt"), token_table(prompts, axes["position"]))
    coords = {
        **axes,
        **dict(zip(_COORDINATES, _prompt_columns(prompts, n_scored), strict=True)),
    }
    attrs = {
        "format": SweepResult.FORMAT,
        "spec": json.dumps(dict(spec)),
        "metrics": json.dumps({m.name: {"label": m.label, "unit": m.unit, "better": m.better} for m in metrics}),
        "prompts": prompts.fingerprint(),
        "versions": json.dumps(versions()),
        "seed": spec.get("seed", 0),
    }
    return SweepResult(xr.Dataset(variables, coords=coords, attrs=attrs))


def _prompt_columns(prompts: Prompts, n_scored: np.ndarray) -> tuple[Any, ...]:
    texts = (np.array(column, dtype=str) for column in (prompts.prompt_texts, prompts.questions, prompts.answer_texts))
    return np.arange(len(prompts)), *(("prompt", column) for column in (*texts, n_scored))


def _coordinates(point: GridPoint) -> dict[str, Any]:
    return {"component": point.component, "layer": point.layer, **point.coords}


def _axes(points: Sequence[GridPoint]) -> dict[str, list[Any]]:
    """The labels of each dimension: numbers in order, names as they come."""
    axes: dict[str, list[Any]] = {}
    for dim in _coordinates(points[0]):
        labels = list(dict.fromkeys(_coordinates(point)[dim] for point in points))
        axes[dim] = sorted(labels) if all(isinstance(label, (int, float)) for label in labels) else labels
    return axes
