"""The page that the demo leaves: what was done, what it shows, and how to go on."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect import plots
from dissect.data.prompts import Prompts
from dissect.metrics.answers import say
from dissect.models.pair import ModelPair
from dissect.plots.labels import component as label
from dissect.report.page import Code, Drawing, Section, Table, page
from dissect.sweep.peaks import peaks
from dissect.sweep.result import SweepResult

N_EXAMPLES = 8


@dataclass(frozen=True)
class Recall:
    """Share of facts whose answer a model gives word by word."""

    who: str
    n_facts: int
    base: float
    unlearned: float


def write_page(
    path: Path,
    *,
    pair: ModelPair,
    prompts: Prompts,
    result: SweepResult,
    recall: Sequence[Recall],
    settings: Mapping[str, Any],
) -> Path:
    """Write the demo's page to ``path``."""
    return page(
        "What did unlearning do?",
        [
            Section("What the models say", _behaviour(pair, prompts, recall)),
            Section("Where the knowledge comes back", _recovery(result)),
            Section("What moved", _drift(pair)),
            Section("The same for your own checkpoints", [_commands(path.parent)]),
        ],
        path,
        lead=(
            f"A small model learnt {settings['n_attributes']} things about each of {settings['n_people']} people who "
            f"do not exist; gradient ascent then made it forget {settings['n_forget']} of them. Is what it knew of "
            "them gone, or is it only no longer read out? To find out, parts of the model before unlearning (base) are "
            "put into the model after it (unlearned). The page shows how much of the base model's behaviour comes back."
        ),
        footer=f"Settings: {_listed(settings)}. Made with {_listed(result.versions)}.",
    )


def _behaviour(pair: ModelPair, prompts: Prompts, recall: Sequence[Recall]) -> list[Any]:
    chosen = prompts[:: max(1, len(prompts) // N_EXAMPLES)][:N_EXAMPLES]
    before, after = say(pair.base, chosen), say(pair.unlearned, chosen)
    shares = Table(
        ("questions about", "facts", "base", "unlearned"),
        [(row.who, row.n_facts, f"{row.base:.1%}", f"{row.unlearned:.1%}") for row in recall],
        caption="share of facts whose answer is given word by word",
    )
    examples = Table(
        ("question", "base says", "unlearned says"),
        [(_question(a.prompt), a.said, b.said) for a, b in zip(before, after, strict=True)],
        caption="greedy answers about forgotten people",
    )
    kept = next(row for row in recall if row.who != "forgotten people")
    words = (
        f"Of the answers about people that it was not to forget, the unlearned model still gives {kept.unlearned:.1%}: "
        "what gradient ascent does to a model is not confined to what it is asked to forget."
    )
    return [shares, words, examples]


def _recovery(result: SweepResult) -> list[Any]:
    rows = [
        (label(peak.component), f"{peak.mean:.3f}", peak.interval, peak.place, f"{peak.overall:.3f}")
        for peak in peaks(result)
    ]
    words = (
        "Recovery (KRS) is 1 - loss(patched) / loss(unlearned), where the loss is the mean squared difference of the "
        "logits from the base model's at the positions that predict the answer: 1 where the base model's behaviour is "
        "back, 0 where nothing changed, negative where it is further away. "
        f"{result.spec['window']} layers are replaced together around each centre."
    )
    caution = (
        "Read it with care: coefficients and attention states come from a run of the base model, and in late layers "
        "they carry the answer that it has already computed. High recovery there does not show by itself that the "
        "knowledge is still in the unlearned model; that the value vectors alone change little shows only that they "
        "were not where the change matters."
    )
    summary = Table(("put back", "highest mean", "95 % interval", "at", "mean over layers"), rows)
    return [
        words,
        Drawing(plots.curves(result), "Recovery over centre layers."),
        summary,
        Drawing(plots.heatmap(result, x="layer", y="component"), "The same as a map."),
        caution,
    ]


def _drift(pair: ModelPair) -> list[Any]:
    alignment = pair.alignment
    words = (
        "How far each block of parameters moved, as the norm of the change over the norm of the base model's "
        f"parameters; the largest change of a block in a layer is {float(alignment.layers['relative_norm'].max()):.2%}."
    )
    return [words, Drawing(plots.heatmap(alignment.layers, x="layer", y="block"), "Relative norm of the change.")]


def _commands(out: Path) -> Code:
    base, unlearned, facts = (shlex.quote(str(out / name)) for name in ("base", "ga", "forget.jsonl"))
    sweep, figure = (shlex.quote(str(out / name)) for name in ("sweep.nc", "sweep.html"))
    return Code(
        f"dissect inspect {base} {unlearned}\n"
        f"dissect patch {base} {unlearned} --facts {facts} --out {sweep}\n"
        f"dissect plot {sweep} --out {figure}"
    )


def _question(prompt: str) -> str:
    return prompt.removeprefix("Question: ").removesuffix("\nAnswer:")


def _listed(items: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in items.items())
