"""U-F4: forgetting against utility for all methods (Dong et al. 2025).

Where the config names unlearned checkpoints they are measured; otherwise each method is trained at several learning
rates and measured over epochs. The paper's utility is MAUVE and perplexity of generated news; here it is what is still
answered of facts that no training saw, and the perplexity of plain texts.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.reproductions.figures.global_behaviour import methods_of
from dissect.reproductions.figures.training_grid import ASKED, asked_of
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import Bench, averaged
from dissect.reproductions.making.measure_rows import label as words
from dissect.reproductions.making.training_runs import Runs, label_of, rows_of

_METHODS = {
    "GA": {"method": "ga"},
    "GradDiff": {"method": "grad_diff"},
    "NPO": {"method": "npo"},
    "SimNPO": {"method": "simnpo"},
    "DPO": {"method": "dpo"},
    "UnDIAL": {"method": "undial", "gamma": 10.0},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "U-F4": {
        "train": {"batch_size": 32},
        "methods": _METHODS,
        "lrs": [1e-6, 1e-5, 1e-4],
        "epochs": [1, 3, 10],
        "forgetting": ["el_3", "exact_match"],
    }
}
"""``forgetting``: measures on the vertical axis. Each method is trained at each of ``lrs``."""
WORLD: dict[str, dict[str, Any]] = {
    "U-F4": {"train": {"batch_size": 16}, "lrs": [1e-4, 3e-4, 1e-3], "epochs": [1, 2, 5, 10]}
}
QUICK: dict[str, dict[str, Any]] = {
    "U-F4": {"lrs": [1e-3], "epochs": [1, 4], "methods": {name: _METHODS[name] for name in ("GA", "UnDIAL")}}
}
_UTILITY = (("exact_match", "retain"), ("perplexity", "texts"))


def make(work: FigureWork) -> Made:
    """A point for each checkpoint, or for each epoch of each run."""
    rows, notes = rows_of(work, _given, _trained)
    order = ["model", "method", "lr", "id", "epoch", "measure", "set", "value", "low", "high", "n", "unit"]
    table = pd.DataFrame(rows).reindex(columns=order).astype({"epoch": "Int64"})
    means = averaged(table, ["model", "method", "lr", "epoch", "measure", "set"], seed=work.seed)
    return Made({"": draw(means, work.settings)}, {"": means}, notes)


def draw(table: pd.DataFrame, settings: Mapping[str, Any]) -> go.Figure:
    """From the table: forgetting upwards, utility to the right."""
    keys = ["model", "method", "lr", "epoch"]
    several = table["model"].nunique() > 1
    parts, titles, log, falling_x = [], {}, [], []
    for left in settings["forgetting"]:
        for measure, where in _UTILITY:
            lost = table[(table["measure"] == left) & table["set"].isin(["forget", "sequences"])]
            utility = table[(table["measure"] == measure) & (table["set"] == where)]
            if not len(lost) or not len(utility):
                continue
            sides = [
                side.set_index(keys)[["value", "low", "high"]].set_axis([axis, f"{axis}_low", f"{axis}_high"], axis=1)
                for side, axis in ((utility, "x"), (lost, "y"))
            ]
            both = sides[0].join(sides[1], how="inner").reset_index()
            panel = f"{words(left)} against {words(measure)}"
            titles[panel] = (
                f"{words(measure)}, {where} (right: retained)",
                f"{words(left)}, {lost['set'].iloc[0]} (up: forgotten)",
            )
            if measure == "perplexity":
                log.append(panel)
                falling_x.append(panel)
            parts.append(both.assign(panel=panel))
    shown = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["method", "panel"])
    told = [_text(row, several) for _, row in shown.iterrows()]
    shown = shown.assign(text=told, line=shown.get("lr", pd.Series(dtype=float)).fillna(0))
    roles = shown["method"].isin(["base", "retrained"])
    return plots.points(
        shown[~roles],
        group="method",
        panel="panel",
        line="line",
        references=shown[roles].assign(name=shown["method"]),
        title="Forgetting against utility",
        subtitle="upper right: the forget facts forgotten, the rest retained",
        caption="A point is a checkpoint; those of one method and learning rate are joined in the order of epochs: no "
        "Pareto front. Whiskers: 95% intervals.",
        titles=titles,
        log_x=log,
        reversed_x=falling_x,
        reversed_y=list(titles),
    )


def _text(row: Any, several: bool) -> str:
    parts = [str(row["model"])] if several else []
    parts += [] if pd.isna(row["lr"]) else [f"lr {row['lr']:g}"]
    parts += [] if pd.isna(row["epoch"]) else [f"epoch {row['epoch']}"]
    return ", ".join(parts)


def _trained(work: FigureWork, model: FigureModel) -> tuple[list[dict[str, Any]], list[str]]:
    runs = Runs(
        work,
        model,
        forget=work.single(model, "forget"),
        retain=work.facts(model, "retain_seen"),
        epochs=work.settings["epochs"],
        asked=asked_of(work, model, ASKED),
    )
    methods = methods_of(work, runs)
    grid = [(name, {**training, "lr": lr}) for name, training in methods.items() for lr in work.settings["lrs"]]
    for name, settings in grid:
        runs.check(settings, name)
    rows = [{**row, "model": model.name, "method": row["run"]} for row in runs.references()]
    for name, settings in grid:
        lr = float(settings["lr"])
        label = f"{model.name} {name} {label_of({'lr': lr})}"
        rows += runs.run(settings, label=label, model=model.name, method=name, lr=lr)
    return rows, runs.notes


def _given(work: FigureWork, model: FigureModel) -> list[dict[str, Any]]:
    pairs = asked_of(work, model, ASKED)
    rows = []
    for id in model.ids:
        sets = {name: work.facts(model, name, id) for _, name in pairs}
        bench = Bench(work, sets)
        everyone: list[tuple[str, dict[str, Any]]] = [(model.base, {"method": "base", "id": id})]
        if model.retrained is not None:
            everyone.append((model.retrained, {"method": "retrained", "id": id}))
        everyone += [(checkpoint.source, checkpoint.place) for checkpoint in model.of(id)]
        for source, columns in everyone:

            def measured(source: str = source, bench: Bench = bench) -> Any:
                return bench.rows(work.base(model) if source == model.base else work.load(source), pairs)

            label = " ".join(str(part) for part in (model.name, *columns.values()) if part)
            kept_rows = work.kept(label, work.key([source], sets, asked=pairs), [source], measured)
            rows += [{**row, "model": model.name, **columns} for row in kept_rows]
    return rows
