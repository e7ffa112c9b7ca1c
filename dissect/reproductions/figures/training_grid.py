"""U-F1 and U-F3: forgetting and utility over epochs, a curve for each learning rate or strength (Dong et al. 2025)."""

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.errors import DissectError
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import label as words
from dissect.reproductions.making.training_runs import Runs, label_of, plain

ASKED = (
    ("el_3", "sequences"),
    ("ma", "forget"),
    ("exact_match", "forget"),
    ("exact_match", "retain"),
    ("perplexity", "texts"),
)
_PAPER = {"method": "undial", "variant": "official", "batch_size": 32, "schedule": "linear"}
SETTINGS: dict[str, dict[str, Any]] = {
    "U-F1": {
        "train": {**_PAPER},
        "over": {"lr": [1e-4, 1e-5, 1e-6, 1e-7], "gamma": [3.0, 10.0]},
        "epochs": [3, 10, 30, 100],
    },
    "U-F3": {
        "train": {**_PAPER, "lr": 1e-6},
        "over": {"gamma": [3.0, 5.0, 7.0, 10.0, 30.0]},
        "epochs": [3, 10, 30, 100],
    },
}
"""The paper's grids for GPT-Neo-125M. ``train`` are settings of ``TrainConfig``, ``over`` those that are varied."""
_WORLD = {"method": "undial", "batch_size": 16}
WORLD: dict[str, dict[str, Any]] = {
    "U-F1": {
        "train": {**_WORLD, "gamma": 10.0},
        "over": {"lr": [1e-4, 3e-4, 1e-3, 3e-3]},
        "epochs": [1, 2, 3, 5, 10, 20],
    },
    "U-F3": {
        "train": {**_WORLD, "lr": 1e-3},
        "over": {"gamma": [0.0, 3.0, 5.0, 7.0, 10.0, 30.0]},
        "epochs": [1, 2, 3, 5, 10, 20],
    },
}
"""A small model takes larger steps. With gamma 0 the model is asked to stay as it is, a control."""
QUICK: dict[str, dict[str, Any]] = {
    "U-F1": {"over": {"lr": [3e-4, 3e-3]}, "epochs": [1, 4]},
    "U-F3": {"over": {"gamma": [0.0, 10.0]}, "epochs": [1, 4]},
}
_TITLES = {"U-F1": "learning rate", "U-F3": "strength"}


def make(work: FigureWork) -> Made:
    """A run for each combination of what is varied."""
    parts_by_model = work.shared(lambda: [_of(work, model) for model in work.config.models])
    rows, fixed, notes = ([one for part in parts for one in part] for parts in zip(*parts_by_model, strict=True))
    order = ["model", *work.settings["over"], "run", "epoch", "measure", "set", "value", "low", "high", "n", "unit"]
    table = pd.concat([pd.DataFrame(fixed), pd.DataFrame(rows)], ignore_index=True)
    return Made({"": draw(table, work)}, {"": table.reindex(columns=order).astype({"epoch": "Int64"})}, notes)


def draw(table: pd.DataFrame, work: FigureWork) -> go.Figure:
    """From the table: rows of runs have an epoch, those of base and retrained model none."""
    several = table["model"].nunique() > 1
    panel = [
        (f"{model}: " if several else "") + panel_of(measure, set)
        for model, measure, set in zip(table["model"], table["measure"], table["set"], strict=True)
    ]
    shown = table.assign(panel=panel)
    runs, fixed = shown[shown["epoch"].notna()], shown[shown["epoch"].isna()].rename(columns={"run": "name"})
    train = ", ".join(f"{key} {value}" for key, value in work.settings["train"].items())
    return plots.panels(
        runs,
        x="epoch",
        curve="run",
        panel="panel",
        references=fixed,
        title=f"Forgetting and utility over epochs, by {_TITLES[work.name]}",
        subtitle=train,
        caption="Bands: 95% intervals over facts or texts. Dashed: the base model; dotted: one trained without the "
        "forget facts.",
        x_title="epochs",
        log_x=True,
        log_y=[p for p in dict.fromkeys(panel) if words("perplexity") in p],
    )


def panel_of(measure: str, set: str) -> str:
    """Return the title of a panel."""
    return f"{words(measure)}, {set}"


def _of(work: FigureWork, model: FigureModel) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    over = work.settings["over"]
    runs = Runs(
        work,
        model,
        forget=work.single(model, "forget"),
        retain=work.facts(model, "retain_seen"),
        epochs=work.settings["epochs"],
        asked=asked_of(work, model, ASKED),
    )
    combinations = _combinations(over)
    for varied in combinations:  # all checked before the first
        runs.check({**work.settings["train"], **varied}, label_of(varied))
    fixed = [{**row, "model": model.name} for row in runs.references()]
    rows: list[dict[str, Any]] = []
    for varied in combinations:
        name = label_of(varied)
        label = f"{model.name} {name}"
        rows += runs.run({**work.settings["train"], **varied}, label=label, model=model.name, run=name, **varied)
    return rows, fixed, runs.notes


def asked_of(work: FigureWork, model: FigureModel, asked: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs whose facts are there; without sequences the forget facts themselves are continued."""
    sequences = "sequences" if "sequences" in model.facts else "forget"
    named = [(measure, sequences if set == "sequences" else set) for measure, set in asked]
    return [(measure, set) for measure, set in named if work.facts(model, set) is not None]


def _combinations(over: Any) -> list[dict[str, Any]]:
    if not isinstance(over, dict) or not over or not all(isinstance(v, list) and v for v in over.values()):
        raise DissectError(
            f"over={over!r}: give a list of values for each setting that is varied, such as 'lr: [1.0e-4]'"
        )
    lists = {key: [plain({key: value})[key] for value in values] for key, values in over.items()}
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
