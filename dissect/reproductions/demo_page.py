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
from dissect.plots.labels import split_control
from dissect.report.page import Code, Drawing, Section, Table, page
from dissect.restoration.smallest_result import SmallestSet
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
    smallest: SmallestSet,
    recall: Sequence[Recall],
    settings: Mapping[str, Any],
) -> Path:
    """Write the demo's page to ``path``."""
    return page(
        "What did unlearning do?",
        [
            Section("What the models say", _behaviour(pair, prompts, recall)),
            Section("Where the knowledge comes back", _recovery(result)),
            Section("What the curves do not show", _controls(result)),
            Section("Which weights are enough", _weights(smallest)),
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
    shown = SweepResult(result.data.sel(component=_without_controls(result)))
    rows = [
        (label(peak.component), f"{peak.mean:.3f}", peak.interval, peak.place, f"{peak.overall:.3f}")
        for peak in peaks(shown)
    ]
    words = (
        "Recovery (KRS) is 1 - loss(patched) / loss(unlearned), where the loss is the mean squared difference of the "
        "logits from the base model's at the positions that predict the answer: 1 where the base model's behaviour is "
        "back, 0 where nothing changed, negative where it is further away. "
        f"{result.spec['window']} layers are replaced together around each centre."
    )
    summary = Table(("put back", "highest mean", "95 % interval", "at", "mean over layers"), rows)
    return [
        words,
        Drawing(plots.curves(shown), "Recovery over centre layers."),
        summary,
        Drawing(plots.heatmap(shown, x="layer", y="component"), "The same as a map."),
    ]


def _controls(result: SweepResult) -> list[Any]:
    caution = (
        "Coefficients and attention states come from a run of the base model, and in late layers they carry the answer "
        "that it has already computed. High recovery there does not show by itself that the knowledge is still in the "
        "unlearned model; that the value vectors alone change little shows only that they were not where the change "
        "matters. The thin curves say what a swap does that carries nothing of the answer: the unlearned model's own "
        "activations (identity, exactly 0), the base model's on another prompt (shuffled), noise of the same length "
        "(random noise), single layers instead of windows; for parameters as many other layers (random layers) and a "
        "change of the same size in a random direction (noise)."
    )
    names = [str(name) for name in result.data["component"].values]
    drawings = [
        Drawing(
            plots.curves(result, component=[name for name in names if split_control(name)[0] == of], title=label(of)),
            f"{label(of)} and its controls.",
        )
        for of in ("mlp_post", "attn_out", "mlp.W_out")
    ]
    return [caution, *drawings]


def _weights(smallest: SmallestSet) -> list[Any]:
    random = f"{min(smallest.random):.3f} to {max(smallest.random):.3f}" if smallest.random else "none"
    words = (
        "Blocks of the base model's weights are put into the unlearned model one by one until the recovery over all "
        f"prompts reaches {smallest.threshold:g}; what turns out not to be needed is taken out again. It takes "
        f"{len(smallest.members)} of {smallest.n_candidates} blocks. As many blocks of the same kinds in random layers "
        f"reach {random}: where that is nearly as much, it matters little which blocks they are."
    )
    return [words, Drawing(plots.path(smallest), "The way to a small set of blocks that is enough.")]


def _without_controls(result: SweepResult) -> list[str]:
    return [name for name in map(str, result.data["component"].values) if not split_control(name)[1]]


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
