"""D-F2: KRS over centre layers, of Hong et al. (2024), "Dissecting Fine-Tuning Unlearning", section 3.

For every centre layer the window around it is taken from the base model into the unlearned one: coefficients m,
attention states A, both, or value vectors W_V. KRS = 1 - loss(patched) / loss(unlearned), the loss being the mean
squared difference of the logits to the base model's, over the base model's own greedy answers. Mean over questions,
then over concepts, then over methods, as published; the pooled ratio beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.pair import ModelPair
from dissect.patching.patch import THE_PAPERS as ACTIVATIONS
from dissect.patching.patch import patch
from dissect.plots import labels
from dissect.reproductions.making.figure_inputs import Checkpoint, FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.restoration.restore import THE_PAPERS as BLOCKS
from dissect.restoration.restore import restore
from dissect.statistics.bootstrap import of_sums
from dissect.sweep.results.join import concat
from dissect.sweep.results.sweep_result import SweepResult

SETTINGS: dict[str, dict[str, Any]] = {
    "D-F2": {"window": 5, "scoring": "answer", "answers": "base", "max_new_tokens": 30, "metric": "krs"}
}
"""``scoring: published`` reads the window of the published notebooks, which misses the first tokens of answers."""
WORLD: dict[str, dict[str, Any]] = {"D-F2": {"window": 3}}
"""Half of the layers: a window of 5 would be all but one."""
QUICK: dict[str, dict[str, Any]] = {}
MEAN = "mean over methods"


def make(work: FigureWork) -> Made:
    """One panel for each method of a model, and one for their mean."""
    tables, singles = [], []
    swept = work.shared(lambda: [_sweeps(work, model) for model in work.config.models])
    for model, sweeps in zip(work.config.models, swept, strict=True):
        several = len(dict.fromkeys((c.method, c.epoch) for c in model.unlearned)) > 1
        singles.append(_by_checkpoint(model, sweeps, work))
        names = list(dict.fromkeys(name for _, name in sweeps))
        groups = {MEAN: names} if several else {}
        groups |= {name: [name] for name in names}
        tables += [_averaged(model, group, members, sweeps, work) for group, members in groups.items()]
    table = pd.concat(tables, ignore_index=True)
    return Made({"": draw(table, work.settings)}, {"": table, "checkpoints": pd.concat(singles, ignore_index=True)})


def draw(table: pd.DataFrame, settings: Mapping[str, Any]) -> go.Figure:
    """From the table of averages."""
    shown = table.assign(
        panel=[
            f"{model}: {method}" if method else model
            for model, method in zip(table["model"], table["method"], strict=True)
        ],
        curve=table["component"].map(labels.component),
        value=table["krs"],
    )
    low = max(-0.5, min(-0.1, float(shown["low"].fillna(shown["value"]).min()) - 0.05))
    unit = table["unit"].iloc[0]
    return plots.panels(
        shown,
        x="layer",
        curve="curve",
        panel="panel",
        columns=3,
        title="What brings the base model's behaviour back into the unlearned one",
        subtitle=f"window of {settings['window']} layers, scoring: {settings['scoring']}",
        caption=(
            f"Mean over questions, concepts and methods; bands: 95% bootstrap over {unit}s. 1: the base model's "
            "logits, 0: the unlearned model's own. The windows of the first and last layers hold fewer layers."
        ),
        x_title="centre layer of the window",
        y_titles=dict.fromkeys(shown["panel"], f"recovery ({str(settings['metric']).upper()})"),
        y_range=(low, 1.1),
    )


def _name(checkpoint: Checkpoint) -> str:
    return checkpoint.method + ("" if checkpoint.epoch is None else f" epoch {checkpoint.epoch}")


def _sweeps(work: FigureWork, model: FigureModel) -> dict[tuple[str, str], SweepResult]:
    """Sweep each checkpoint of a model; by concept and name."""
    return {
        (checkpoint.id, _name(checkpoint)): sweep
        for id in model.ids
        for checkpoint in model.of(id)
        if (sweep := _sweep(work, model, checkpoint)) is not None
    }


def _sweep(work: FigureWork, model: FigureModel, checkpoint: Checkpoint) -> SweepResult | None:
    """Activations and value vectors of one checkpoint, an item."""
    sources = [model.base, checkpoint.source]
    facts, settings = work.needed(model, "forget", checkpoint.id), work.settings
    key = work.key(sources, {"forget": facts}, **settings)
    label = " ".join(part for part in (model.name, checkpoint.id, _name(checkpoint)) if part)
    pairs: list[tuple[ModelPair, Prompts]] = []

    def pair() -> tuple[ModelPair, Prompts]:
        if not pairs:
            base = work.base(model)
            prompts = facts.prompts(
                base,
                template=work.config.template,
                chat=work.config.chat,
                answers=settings["answers"],
                max_new_tokens=settings["max_new_tokens"],
                batch_size=work.config.batch_size,
                progress=False,
            )
            pairs.append((ModelPair(base, work.load(checkpoint.source)), prompts))
        return pairs[0]

    options = {
        "window": settings["window"],
        "metrics": [settings["metric"]],
        "scoring": settings["scoring"],
        "batch_size": work.config.batch_size,
        "seed": work.seed,
        "progress": work.progress,
    }

    def activations(out: Path) -> SweepResult:
        return patch(*pair(), ACTIVATIONS, out=out, **options)

    def parameters(out: Path) -> SweepResult:
        return restore(*pair(), BLOCKS, out=out, **options)

    def both() -> SweepResult:
        return concat(
            work.swept(f"{label} activations", key, activations), work.swept(f"{label} parameters", key, parameters)
        )

    return work.item(label, key, both, None)


def _by_checkpoint(model: FigureModel, sweeps: Mapping[tuple[str, str], SweepResult], work: FigureWork) -> pd.DataFrame:
    """The numbers of each checkpoint: those of ``SweepResult.ci``."""
    rows = []
    for (id, name), sweep in sweeps.items():
        table = sweep.ci(work.settings["metric"], seed=work.seed).to_dataframe().reset_index()
        rows.append(table.rename(columns={"mean": "krs"}).assign(model=model.name, method=name, id=id))
    keep = ["model", "method", "id", "component", "layer", "krs", "low", "high", "pooled", "n", "n_undefined"]
    return pd.concat(rows, ignore_index=True)[keep]


def _averaged(
    model: FigureModel, group: str, names: list[str], found: Mapping[tuple[str, str], SweepResult], work: FigureWork
) -> pd.DataFrame:
    """Mean over questions, then concepts, then methods, with a bootstrap over concepts, or over questions of one."""
    metric, ids = work.settings["metric"], list(dict.fromkeys(id for id, _ in found))
    by_method = [[found[id, name] for id in ids if (id, name) in found] for name in names]
    first = by_method[0][0]
    rows = []
    for component in first.data["component"].values:
        for layer in first.data["layer"].values:
            cells = [[_cell(sweep, metric, component, layer) for sweep in sweeps] for sweeps in by_method]
            units = _units(cells, one=len(ids) == 1)
            defined = np.isfinite(units)
            columns = np.stack([np.where(defined, units, 0.0), defined.astype(float)], axis=-1)
            low, high = of_sums(columns.reshape(len(units), -1), _mean_of_means, seed=work.seed)
            rows.append(
                {
                    "model": model.name,
                    "method": group,
                    "component": str(component),
                    "layer": int(layer),
                    "krs": float(_mean_of_means(columns.sum(0).reshape(-1))),
                    "low": low,
                    "high": high,
                    "pooled": float(np.mean([_pooled(method) for method in cells])),
                    "n": len(units),
                    "unit": "question" if len(ids) == 1 else "concept",
                    "n_prompts": sum(len(cell["recovery"]) for cell in cells[0]),
                    "n_undefined": sum(int(np.isnan(cell["recovery"]).sum()) for method in cells for cell in method),
                }
            )
    return pd.DataFrame(rows)


def _cell(sweep: SweepResult, metric: str, component: Any, layer: Any) -> dict[str, np.ndarray]:
    """One cell by question: the recovery, and the two differences of which it is the ratio."""
    at = {"component": component, "layer": layer}
    own = sweep.data[f"{metric}_recipient"].values
    return {
        "recovery": sweep.recovery(metric).sel(at).values,
        "gained": sweep.values(metric).sel(at).values - own,
        "gap": sweep.data[f"{metric}_donor"].values - own,
    }


def _units(cells: list[list[dict[str, np.ndarray]]], *, one: bool) -> np.ndarray:
    """(unit, method): questions where there is one concept, else each concept's mean over its questions."""
    if one:
        if len({len(method[0]["recovery"]) for method in cells}) > 1:
            raise DissectError("methods of one concept were asked different questions: give them the same facts")
        return np.stack([method[0]["recovery"] for method in cells], axis=-1)
    means = [
        [float(np.nanmean(c["recovery"])) if np.isfinite(c["recovery"]).any() else np.nan for c in method]
        for method in cells
    ]
    return np.array(means).T


def _mean_of_means(sums: np.ndarray) -> Any:
    """From sums and counts of each method, side by side on the last axis, to the mean over methods of their means."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums[..., 0::2] / sums[..., 1::2]).mean(-1)


def _pooled(method: list[dict[str, np.ndarray]]) -> float:
    gap = sum(float(cell["gap"].sum()) for cell in method)
    return sum(float(cell["gained"].sum()) for cell in method) / gap if gap else float("nan")
