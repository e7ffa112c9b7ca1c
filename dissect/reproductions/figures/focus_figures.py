"""U-F5 and U-F6: UnDIAL with and without focus (Dong et al. 2025): over epochs, and forgetting against utility.

Trained on whole texts; what is in focus stands in each under ``spans``, by kind. The paper's kinds, entities and noun
chunks, are found by spaCy; on the world they are the value of a fact, and its name and value.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.reproductions.figures.training_grid import panel_of
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import label as words
from dissect.reproductions.making.training_runs import Runs, collected, label_of
from dissect.unlearning.focus import Spans

ASKED = (
    ("el_3", "sequences"),
    ("ma", "sequences"),
    ("exact_match", "forget"),
    ("exact_match", "retain"),
    ("perplexity", "texts"),
)
_UTILITY = (("exact_match", "retain"), ("perplexity", "texts"))
SPANS = "spans"
"""The key of a text under which its strings in focus stand, by kind."""
NO_FOCUS = "no focus"
_PAPER = {"method": "undial", "variant": "official", "batch_size": 32, "schedule": "linear", "gamma": 30.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "U-F5": {"train": _PAPER, "lrs": [1e-6], "epochs": [3, 10, 30, 100], "focus": "hard"},
    "U-F6": {"train": _PAPER, "lrs": [1e-7, 1e-6, 1e-5], "epochs": [3, 10, 30, 100], "focus": "hard"},
}
"""``focus``: ``hard`` trains on the tokens in focus alone, ``soft`` weighs them more."""
_WORLD = {"train": {"method": "undial", "batch_size": 16, "gamma": 30.0}}
WORLD: dict[str, dict[str, Any]] = {
    "U-F5": {**_WORLD, "lrs": [3e-4], "epochs": [1, 2, 3, 5]},
    "U-F6": {**_WORLD, "lrs": [3e-5, 1e-4, 3e-4], "epochs": [1, 2, 3, 5]},
}
QUICK: dict[str, dict[str, Any]] = {"U-F5": {"epochs": [1, 2]}, "U-F6": {"epochs": [1, 2], "lrs": [1e-4, 1e-3]}}


def make(work: FigureWork) -> Made:
    """A run for each kind of focus and learning rate."""
    rows, notes = collected(work, lambda model: _of(work, model))
    order = ["model", "focus", "lr", "epoch", "measure", "set", "value", "low", "high", "n", "unit"]
    table = pd.DataFrame(rows).reindex(columns=order).astype({"epoch": "Int64"})
    return Made({"": _over_epochs(table, work) if work.name == "U-F5" else _scatter(table)}, {"": table}, notes)


def kinds_of(sequences: Facts) -> list[str]:
    """Kinds of focus that every text has.

    Raises:
        DissectError: there are none.
    """
    all_spans: list[Any] = [fact.extra.get(SPANS) for fact in sequences]
    if not all(isinstance(spans, dict) and spans for spans in all_spans):
        raise DissectError(
            f"a text of sequences has no {SPANS!r}: give what is in focus by kind, such as "
            '{"text": "Ada was born in Paris.", "spans": {"entity": ["Ada", "Paris"]}}'
        )
    return [str(kind) for kind in all_spans[0] if all(kind in spans for spans in all_spans)]


def _of(work: FigureWork, model: FigureModel) -> tuple[list[dict[str, Any]], list[str]]:
    runs = Runs(
        work,
        model,
        forget=work.single(model, "sequences"),
        retain=None,
        epochs=work.settings["epochs"],
        asked=[(m, s) for m, s in ASKED if work.facts(model, s) is not None],
    )
    train, focus = work.settings["train"], work.settings["focus"]
    kinds = [NO_FOCUS, *kinds_of(runs.forget)]
    grid = [
        (kind, {**train, "lr": lr, **({} if kind == NO_FOCUS else {"focus": focus})})
        for kind in kinds
        for lr in work.settings["lrs"]
    ]
    for kind, settings in grid:
        runs.check(settings, kind)
    rows = [{**row, "model": model.name, "focus": row["run"]} for row in runs.references()]
    for kind, settings in grid:
        lr = float(settings["lr"])
        rows += runs.run(
            settings,
            label=f"{model.name} {kind} {label_of({'lr': lr})}",
            focus=None if kind == NO_FOCUS else (kind, _spans(kind)),
            model=model.name,
            focus_kind=kind,
            lr=lr,
        )
    return [{**row, "focus": row.get("focus_kind", row.get("focus"))} for row in rows], runs.notes


def _spans(kind: str) -> Spans:
    def spans(fact: Fact) -> list[str]:
        return list(fact.extra[SPANS][kind])

    return spans


def _over_epochs(table: pd.DataFrame, work: FigureWork) -> go.Figure:
    several = table["model"].nunique() > 1
    shown = table.assign(
        panel=[
            (f"{row['model']}: " if several else "") + panel_of(row["measure"], row["set"])
            for _, row in table.iterrows()
        ],
        curve=[
            f"{row['focus']}, lr {row['lr']:g}" if len(work.settings["lrs"]) > 1 else row["focus"]
            for _, row in table.iterrows()
        ],
    )
    fixed = shown["focus"].isin(["base", "retrained"])
    return plots.panels(
        shown[~fixed],
        x="epoch",
        curve="curve",
        panel="panel",
        references=shown[fixed].assign(name=shown["focus"]),
        title="UnDIAL with and without focus",
        subtitle=f"{work.settings['focus']} focus, "
        + ", ".join(f"{k} {v}" for k, v in {**work.settings["train"], "lr": work.settings["lrs"]}.items()),
        caption="Bands: 95% intervals. Dashed: the base model; dotted: one trained without the forget facts.",
        x_title="epochs",
        log_x=True,
        log_y=[p for p in shown["panel"] if words("perplexity") in p],
    )


def _scatter(table: pd.DataFrame) -> go.Figure:
    keys, several = ["model", "focus", "lr", "epoch"], table["model"].nunique() > 1
    parts: list[pd.DataFrame] = []
    titles: dict[str, tuple[str, str]] = {}
    for utility, where in _UTILITY:
        sides = [
            table[(table["measure"] == measure) & (table["set"] == set)]
            .set_index(keys)[["value", "low", "high"]]
            .set_axis([axis, f"{axis}_low", f"{axis}_high"], axis=1)
            for measure, set, axis in ((utility, where, "x"), ("el_3", "sequences", "y"))
        ]
        both = sides[0].join(sides[1], how="inner").reset_index()
        panel = [(f"{model}: " if several else "") + words(utility) for model in both["model"]]
        axes = (f"{words(utility)}, {where} (right: retained)", "EL₃, sequences (up: forgotten)")
        titles |= dict.fromkeys(panel, axes)
        parts.append(both.assign(panel=panel))
    shown = pd.concat(parts, ignore_index=True)
    if not len(shown):
        raise DissectError("U-F6 needs facts 'retain' or 'texts', and sequences that are long enough for 3-grams")
    told = [
        "" if np.isnan(lr) else f"lr {lr:g}, epoch {epoch}"
        for lr, epoch in zip(shown["lr"], shown["epoch"], strict=True)
    ]
    shown = shown.assign(text=told)
    fixed = shown["focus"].isin(["base", "retrained"])
    falling = [panel for panel in titles if words("perplexity") in panel]
    return plots.points(
        shown[~fixed],
        group="focus",
        panel="panel",
        references=shown[fixed].assign(name=shown["focus"]),
        title="Forgetting against utility, with and without focus",
        subtitle="a point is an epoch of a run; lines: least squares of each kind",
        caption="Right: what no training saw is still answered, plain texts are still read; up: the forgotten texts "
        "no longer come back. Whiskers: 95% intervals.",
        titles=titles,
        log_x=falling,
        reversed_x=falling,
        reversed_y=list(titles),
        fit=True,
    )
