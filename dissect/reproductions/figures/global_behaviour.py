"""D-F3: what unlearning does to answers about other things (Hong et al. 2024, the global behaviour; a reconstruction).

The paper's own protocol is not published. Here, as its data suggest: BLEU and ROUGE-L of the greedy answers to target
and to unrelated questions against the base model's own, by the metric code of ConceptVectors. Where the config names
unlearned checkpoints they are measured; otherwise each method is trained, and measured over epochs.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.errors import DissectError
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import Bench, averaged
from dissect.reproductions.making.training_runs import Runs, rows_of

MEASURES = ("similarity_to_base_bleu", "similarity_to_base_rouge_l")
ASKED = [(measure, set) for set in ("forget", "unrelated") for measure in MEASURES]
_WORDS = {"similarity_to_base_bleu": "BLEU", "similarity_to_base_rouge_l": "ROUGE-L"}
_CONCEPTS = {"batch_size": 1, "accumulate": 16, "lr": 5e-5, "weight_decay": 0.01, "schedule": "linear"}
SETTINGS: dict[str, dict[str, Any]] = {
    "D-F3": {
        "train": {**_CONCEPTS, "warmup_epochs": 1.0},
        "methods": {
            "GA": {"method": "ga"},
            "GradDiff": {"method": "grad_diff", "retain_weight": 1.5},
            "NPO": {"method": "npo"},
            "NPO + KL": {"method": "npo", "retain_loss": "kl"},
            "DPO": {"method": "dpo"},
        },
        "epochs": [1, 2, 3, 5, 10],
        "max_new_tokens": 100,
        "published": False,
    }
}
"""ConceptVectors' settings of training. ``published``: BLEU as their code has it, with the roles exchanged."""
WORLD: dict[str, dict[str, Any]] = {
    "D-F3": {
        "train": {"batch_size": 16, "lr": 2e-4},
        "max_new_tokens": 12,
        "methods": {**SETTINGS["D-F3"]["methods"], "UnDIAL": {"method": "undial", "gamma": 10.0}},
    }
}
QUICK: dict[str, dict[str, Any]] = {
    "D-F3": {"methods": {"GA": {"method": "ga"}, "GradDiff": {"method": "grad_diff"}}, "epochs": [1, 3]}
}


def make(work: FigureWork) -> Made:
    """Curves over epochs where there are several, and unrelated against target answers."""
    rows, notes = rows_of(work, _given, _trained)
    table = pd.DataFrame(rows)
    order = ["model", "method", "id", "epoch", "measure", "set", "value", "low", "high", "n", "unit"]
    table = table.reindex(columns=order).astype({"epoch": "Int64"})
    means = averaged(table, ["model", "method", "epoch", "measure", "set"], seed=work.seed)
    figures = {"": _against(means)}
    if means["epoch"].nunique() > 1:
        figures["epochs"] = _over_epochs(means)
    return Made(figures, {"": means, "concepts": table} if table["id"].nunique() > 1 else {"": means}, notes)


def _given(work: FigureWork, model: FigureModel) -> list[dict[str, Any]]:
    rows = []
    for id in model.ids:
        sets = {name: work.needed(model, name, id) for name in ("forget", "unrelated")}
        benches: list[Bench] = []
        for checkpoint in model.of(id):
            sources = [model.base, checkpoint.source]
            label = " ".join(str(part) for part in (model.name, id, checkpoint.method, checkpoint.epoch) if part)

            def measured(source: str = checkpoint.source, benches: list[Bench] = benches, sets: Any = sets) -> Any:
                if not benches:
                    benches.append(Bench(work, sets, base=work.base(model), options=_options(work)))
                return benches[0].rows(work.load(source), ASKED)

            key = work.key(sources, sets, asked=ASKED, options=_options(work))
            rows += [
                {**row, "model": model.name, **checkpoint.place} for row in work.kept(label, key, sources, measured)
            ]
    return rows


def _trained(work: FigureWork, model: FigureModel) -> tuple[list[dict[str, Any]], list[str]]:
    runs = Runs(
        work,
        model,
        forget=work.single(model, "forget"),
        retain=work.facts(model, "retain_seen"),
        epochs=work.settings["epochs"],
        asked=ASKED,
        options=_options(work),
    )
    methods = methods_of(work, runs)
    rows: list[dict[str, Any]] = []
    for name in methods:  # before training: the base model's answers are its own
        rows += [
            {"model": model.name, "method": name, "epoch": 0, **row, "run": None}
            for row in runs.references()
            if row["run"] == "base"
        ]
    for name, settings in methods.items():
        rows += runs.run(settings, label=f"{model.name} {name}", model=model.name, method=name)
    return rows, runs.notes


def methods_of(work: FigureWork, runs: Runs) -> dict[str, dict[str, Any]]:
    """Method by name to all of its settings, each checked before the first is trained.

    Raises:
        DissectError: no methods, settings that do not exist, or retained facts that are missing.
    """
    methods = work.settings["methods"]
    if not isinstance(methods, dict) or not methods or not all(isinstance(each, dict) for each in methods.values()):
        raise DissectError(f"methods={methods!r:.80}: give settings by name, such as 'GA: {{method: ga}}'")
    complete = {name: {**work.settings["train"], **settings} for name, settings in methods.items()}
    for name, settings in complete.items():
        runs.check(settings, name)
    return complete


def _options(work: FigureWork) -> dict[str, Any]:
    return {
        "similarity_to_base.max_new_tokens": work.settings["max_new_tokens"],
        "similarity_to_base.published": work.settings["published"],
    }


def _against(table: pd.DataFrame) -> go.Figure:
    keys = ["model", "method", "epoch", "measure"]
    sides = [
        table[table["set"] == set].set_index(keys)[["value", "low", "high"]].add_prefix(set)
        for set in ("forget", "unrelated")
    ]
    both = sides[0].join(sides[1], how="inner").reset_index()
    several = both["model"].nunique() > 1
    shown = pd.DataFrame(
        {
            "panel": [
                (f"{model}: " if several else "") + _WORDS[measure]
                for model, measure in zip(both["model"], both["measure"], strict=True)
            ],
            "group": both["method"],
            "text": ["" if pd.isna(epoch) else f"epoch {epoch}" for epoch in both["epoch"]],
            **{f"x{end}": both[f"unrelated{column}"] for end, column in _ENDS},
            **{f"y{end}": both[f"forget{column}"] for end, column in _ENDS},
        }
    )
    return plots.points(
        shown,
        group="group",
        panel="panel",
        line="group",
        title="What unlearning does to answers about other things (a reconstruction)",
        subtitle="greedy answers against the base model's own",
        caption="Right: unrelated questions are still answered as the base model did; up: target questions no longer. "
        "Whiskers: 95% intervals. Points of one method are joined in the order of epochs.",
        titles={
            panel: (f"{panel}, unrelated questions (right: retained)", f"{panel}, target questions (up: forgotten)")
            for panel in shown["panel"]
        },
        reversed_y=list(shown["panel"]),
    )


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def _over_epochs(table: pd.DataFrame) -> go.Figure:
    several = table["model"].nunique() > 1
    shown = table.assign(
        panel=[
            (f"{row['model']}: " if several else "") + f"{row['method']}, {_WORDS[row['measure']]}"
            for _, row in table.iterrows()
        ],
        curve=table["set"].map({"forget": "target questions", "unrelated": "unrelated questions"}),
    ).sort_values(["measure", "model"], kind="stable")
    return plots.panels(
        shown[shown["epoch"].notna()],
        x="epoch",
        curve="curve",
        panel="panel",
        title="Answers as the base model gave them, over epochs (a reconstruction)",
        subtitle="BLEU and ROUGE-L of greedy answers against the base model's own",
        caption="Bands: 95% intervals over questions, or over concepts where there are several.",
        x_title="epochs",
        y_range=(-0.03, 1.03),
    )
