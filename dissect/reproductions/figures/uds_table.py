"""UDS of each checkpoint with its interval (Lee, Kim and Jo 2026), and what the checkpoint still says beside it."""

from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.reproductions.making.figure_inputs import Checkpoint, FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import Bench

SETTINGS: dict[str, dict[str, Any]] = {"UDS": {"tau": 0.05}}
WORLD: dict[str, dict[str, Any]] = {}
QUICK: dict[str, dict[str, Any]] = {}
ASKED = (("uds", "forget"), ("exact_match", "forget"), ("answer_probability", "forget"), ("exact_match", "retain"))


def make(work: FigureWork) -> Made:
    """A row a checkpoint, base and retrained model included, which are 0 and 1 by construction."""
    rows_by_concept = work.shared(
        lambda: [_concept(work, model, id) for model in work.config.models for id in model.ids]
    )
    table = pd.DataFrame([row for rows in rows_by_concept for row in rows])
    return Made({"": draw(table)}, {"": table})


def draw(table: pd.DataFrame) -> go.Figure:
    """From the table."""
    parts = ("model", "id", "method", "epoch")
    told = [part for part in parts if table[part].nunique() > 1 or part == "method"]
    shown = table.assign(
        label=[
            " ".join(str(row[part]) for part in told if not pd.isna(row[part]) and row[part] != "")
            for _, row in table.iterrows()
        ],
        value=table["uds"],
        low=table["uds_low"],
        high=table["uds_high"],
    )
    return plots.intervals(
        shown,
        label="label",
        title="How deep the erasure goes",
        subtitle="Unlearning Depth Score on the forget facts",
        caption="0: every layer's states still give the base model the answer; 1: no more than a retrained model's do. "
        "Mean over facts, 95% intervals.",
        x_title="UDS",
        x_range=(-0.03, 1.03),
    )


def _concept(work: FigureWork, model: FigureModel, id: str) -> list[dict[str, Any]]:
    """All checkpoints of one concept; the models that they are compared with are loaded when the first is measured."""
    sets = {"forget": work.needed(model, "forget", id), "retain": work.facts(model, "retain", id)}
    options = {"uds.tau": work.settings["tau"]}
    retrained = str(model.retrained)
    benches: list[Bench] = []

    def bench() -> Bench:
        if not benches:
            base = work.base(model)
            benches.append(Bench(work, sets, base=base, retrained=work.load(retrained), options=options))
        return benches[0]

    def measured(source: str) -> list[dict[str, Any]]:
        held = {model.base: lambda: bench().base, retrained: lambda: bench().retrained}
        return bench().rows(held[source]() if source in held else work.load(source), ASKED)

    rows = []
    everyone = [Checkpoint(source=model.base, method="base", id=id)]
    everyone += [Checkpoint(source=retrained, method="retrained", id=id), *model.of(id)]
    for checkpoint in everyone:
        sources = [model.base, retrained, checkpoint.source]
        key = work.key(sources, sets, asked=ASKED, options=options)
        label = " ".join(part for part in (model.name, id, checkpoint.method, str(checkpoint.epoch or "")) if part)
        scores = work.kept(label, key, sources, partial(measured, checkpoint.source))
        rows.append({"model": model.name, **checkpoint.place, **_wide(scores)})
    return rows


def _wide(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of many: a column for each number and its interval."""
    wide: dict[str, Any] = {}
    for row in scores:
        name = row["measure"] if row["set"] == "forget" else f"{row['measure']}_{row['set']}"
        wide |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"], f"{name}_n": row["n"]}
    return wide
