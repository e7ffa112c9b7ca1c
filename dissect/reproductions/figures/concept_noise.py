"""CV-F1: are concept vectors causal? Noise on one value vector, and what the model then answers (Hong et al. 2024,
ConceptVectors).

N(0, s²) is added to one row of ``W_out``; the model's greedy answers about the vector's concept and about other things
are compared with those that it gave before, by BLEU and ROUGE-L. The vector is put back bit for bit before the next
(the published code lets the noise of all vectors add up). Where facts carry no concept vector, the concepts are answers
that several facts share, and the vector of each is the one whose projection to the vocabulary, with no norm in between,
gives the answer's first token the highest value.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from transformer_lens import HookedTransformer

from dissect import plots
from dissect.data.facts import Facts
from dissect.errors import Undefined
from dissect.measures.behaviour.similarity_to_base import bleu_to_base, rouge_to_base
from dissect.measures.estimate import mean_of
from dissect.measures.examined import Examined, Settings
from dissect.reproductions.making.concepts import Concept, another, concepts_of, noised
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made

SETTINGS: dict[str, dict[str, Any]] = {
    "CV-F1": {
        "scales": [0.1],
        "n_concepts": None,
        "n_unrelated": 10,
        "max_new_tokens": 100,
        "control": True,
        "published": False,
    }
}
"""``scales``: standard deviations of the noise. ``control``: the same noise on a vector of the same layer drawn at
random. ``published``: BLEU with the roles exchanged, and noise that adds up over concepts, as in their code."""
WORLD: dict[str, dict[str, Any]] = {
    "CV-F1": {"scales": [0.1, 0.3, 1.0, 3.0], "n_concepts": 24, "n_unrelated": 40, "max_new_tokens": 8}
}
QUICK: dict[str, dict[str, Any]] = {"CV-F1": {"scales": [0.1, 1.0], "n_concepts": 4, "n_unrelated": 10}}
MEASURES = {"BLEU": bleu_to_base, "ROUGE-L": rouge_to_base}
CONCEPT, CONTROL = "concept vector", "vector drawn at random"


def make(work: FigureWork) -> Made:
    """A row for each scale, vector, measure and set; the answers of each concept in a second table."""
    rows_by_model = work.shared(lambda: [_of(work, model) for model in work.config.models])
    singles = pd.DataFrame([row for rows in rows_by_model for row in rows])
    keys = ["model", "scale", "vector", "measure", "set"]
    means = []
    for group, part in singles.groupby(keys, sort=False):
        estimate = mean_of(part["value"].to_numpy()).with_interval(seed=work.seed)
        means.append(
            {**dict(zip(keys, group, strict=True)), "value": estimate.value, "low": estimate.low, "high": estimate.high}
            | {"n_concepts": estimate.n, "n_answers": int(part["n"].sum())}
        )
    table = pd.DataFrame(means)
    return Made({"": draw(table), "histogram": _histogram(singles)}, {"": table, "concepts": singles})


def draw(table: pd.DataFrame) -> go.Figure:
    """From the table of means over concepts."""
    several = table["model"].nunique() > 1
    shown = table.assign(
        label=[
            (f"{row['model']}: " if several else "") + f"{row['measure']}, noise {row['scale']:g}, {row['set']}"
            for _, row in table.iterrows()
        ]
    ).sort_values(["model", "measure", "scale"], kind="stable")
    return plots.intervals(
        shown,
        label="label",
        group="vector",
        title="Noise on one value vector",
        subtitle="greedy answers against those of the model as it was",
        caption="Mean over concepts with a 95% bootstrap; 1: the answers are the same.",
        x_title="BLEU or ROUGE-L to the answers before",
        x_range=(-0.03, 1.03),
    )


def _of(work: FigureWork, model: FigureModel) -> list[dict[str, Any]]:
    parts = [work.single(model, "forget"), work.facts(model, "retain"), work.facts(model, "retain_seen")]
    facts = Facts([fact for part in parts if part is not None for fact in part])
    options = {key: work.settings[key] for key in ("n_concepts", "n_unrelated", "max_new_tokens", "published")}
    base: list[HookedTransformer] = []
    key = work.key([model.base], {"facts": facts, "unrelated": work.facts(model, "unrelated")}, **options)

    def listed() -> list[Concept]:
        held = base or [work.base(model)]
        base[:] = held
        unrelated = work.facts(model, "unrelated") if "Layer" in facts[0].extra else None
        return concepts_of(
            held[0], facts, unrelated, n=options["n_concepts"], n_unrelated=options["n_unrelated"], seed=work.seed
        )

    def measured(vector: str, scale: float) -> list[dict[str, Any]]:
        return _measured(work, model, listed(), base[0], vector, scale)

    rows: list[dict[str, Any]] = []
    vectors = [CONCEPT, CONTROL] if work.settings["control"] else [CONCEPT]
    for vector in vectors:
        for scale in work.settings["scales"]:
            label = f"{model.name} {vector} {scale}"
            rows += work.kept(
                label,
                {**key, "scale": scale, "vector": vector},
                [model.base],
                partial(measured, vector, float(scale)),
            )
    return rows


def _measured(
    work: FigureWork, of: FigureModel, concepts: Sequence[Concept], model: HookedTransformer, vector: str, scale: float
) -> list[dict[str, Any]]:
    """Answers before and after, concept by concept; each has noise of its own, the same at every scale but for it."""
    options = {
        "similarity_to_base.max_new_tokens": work.settings["max_new_tokens"],
        "similarity_to_base.published": work.settings["published"],
    }
    settings = Settings(
        template=work.config.template,
        chat=work.config.chat,
        batch_size=work.config.batch_size,
        seed=work.seed,
        options=options,
    )
    as_it_was = {
        (concept.name, name): _answering(model, facts, settings)
        for concept in concepts
        for name, facts in (("target", concept.target), ("unrelated", concept.unrelated))
    }
    kept = [block.mlp.W_out.detach().clone() for block in model.blocks] if work.settings["published"] else []
    rows: list[dict[str, Any]] = []
    try:
        for number, concept in enumerate(concepts):
            generator = torch.Generator().manual_seed(work.seed + number)
            neuron = concept.neuron if vector == CONCEPT else another(model, concept, work.seed)
            columns = {"concept": concept.name, "layer": concept.layer, "neuron": neuron}
            with noised(model, concept.layer, neuron, scale, generator):
                if kept:
                    after = model.blocks[concept.layer].mlp.W_out.data[neuron].clone()
                for name in ("target", "unrelated"):
                    before = as_it_was[concept.name, name]
                    examined = Examined(model, before.sets, name="noised", settings=settings, base=before)
                    rows += [
                        {"model": of.name, "scale": scale, "vector": vector, "set": name, **columns, **row}
                        for row in _similarity(examined)
                    ]
            if kept:  # as in the published code, nothing is put back before the end
                model.blocks[concept.layer].mlp.W_out.data[neuron] = after
    finally:
        for block, weights in zip(model.blocks, kept, strict=False):
            block.mlp.W_out.data.copy_(weights)
    return rows


def _answering(model: HookedTransformer, facts: Facts, settings: Settings) -> Examined:
    """The model as it is, its answers taken."""
    examined = Examined(model, {"forget": facts}, name="base", settings=settings)
    examined.attach(base=examined, retrained=None)
    bleu_to_base(examined)
    return examined


def _similarity(examined: Examined) -> list[dict[str, Any]]:
    rows = []
    for measure, compute in MEASURES.items():
        try:
            estimate = compute(examined)
        except Undefined:
            continue
        items = [] if estimate.items is None else [float(value) for value in estimate.items]
        rows.append({"measure": measure, "value": estimate.value, "n": estimate.n, "items": items})
    return rows


def _histogram(singles: pd.DataFrame) -> go.Figure:
    """BLEU of single answers under the strongest noise: target up, unrelated down."""
    scale = singles["scale"].max()
    part = singles[(singles["measure"] == "BLEU") & (singles["scale"] == scale) & (singles["vector"] == CONCEPT)]
    upper, lower = (
        np.array([value for items in part[part["set"] == name]["items"] for value in items])
        for name in ("target", "unrelated")
    )
    return plots.mirrored(
        upper[~np.isnan(upper)],
        lower[~np.isnan(lower)],
        names=("about the concept", "about other things"),
        title="Answers after noise on the concept's value vector",
        subtitle=f"noise {scale:g}",
        caption="BLEU of single greedy answers against those of the model as it was.",
        x_title="BLEU to the answer before",
    )
