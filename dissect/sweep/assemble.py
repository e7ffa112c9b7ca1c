"""From the rows of a run to a labelled result."""

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
from dissect.sweep.grid import Cell
from dissect.sweep.sweep_result import SweepResult

_COORDINATES = ("prompt", "prompt_text", "answer_text", "n_scored")


def check_names(cells: Sequence[Cell], metrics: Sequence[Metric]) -> None:
    """Every name in the result is to mean one thing: better seen before a sweep than after it.

    Raises:
        DissectError: a metric's name is that of a dimension, of a coordinate or of another metric's value in a model.
    """
    taken = {"members", *_COORDINATES, *(dim for cell in cells for dim in _coordinates(cell))}
    taken |= {f"{metric.name}_{end}" for metric in metrics for end in ("recipient", "donor")}
    for metric in metrics:
        if metric.name in taken:
            raise DissectError(
                f"a metric is called {metric.name!r}, as something else in the result is: give it another name"
            )


def assemble(
    cells: Sequence[Cell],
    values: Mapping[str, np.ndarray],
    prompts: Prompts,
    metrics: Sequence[Metric],
    n_scored: np.ndarray,
    spec: Mapping[str, Any],
) -> SweepResult:
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
    texts = (np.array(column, dtype=str) for column in (prompts.prompt_texts, prompts.answer_texts))
    return np.arange(len(prompts)), *(("prompt", column) for column in (*texts, n_scored))


def _coordinates(cell: Cell) -> dict[str, Any]:
    return {"component": cell.component, "layer": cell.layer, **cell.coords}


def _axes(cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """The labels of each dimension: numbers in order, names as they come."""
    axes: dict[str, list[Any]] = {}
    for dim in _coordinates(cells[0]):
        labels = list(dict.fromkeys(_coordinates(cell)[dim] for cell in cells))
        axes[dim] = sorted(labels) if all(isinstance(label, (int, float)) for label in labels) else labels
    return axes
