"""Erased by construction: facts are trained into some entries of a model that never knew them, which are then put back.

What else the model was taught before that, in all of its parameters, is left in: the dose. Two models come of it: the
one that was *taught* everything, which plays the base model, and the one whose entries were put back, which equals the
model before that training to the bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.constructions.blocks import layers_at, parameters_of
from benchmarks.truths.learning import continued, taught
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import texts_of
from benchmarks.truths.store import read_put_back, read_weights
from dissect.data.fact import Fact

STARTS = ("retrained-a", "retrained-b")
MASKS = ("mlp-late", "mlp-middle", "neurons", "entries", "attention")
ENTRIES, NEURONS = 0.3, 0.5
"""Shares of entries and of neurons that are trained."""
DOSES = (0.0, 0.25, 0.5, 0.75)
CONTINUED, CONTINUED_LR = 16, 5e-4
"""Steps on retain texts alone that make each model's start another one."""


@dataclass(frozen=True)
class Erasure:
    """One pair of models."""

    start: str
    mask: str
    dose: float
    by: str
    """``people``: everything about some is left in; ``facts``: some facts about each may be."""

    @property
    def suffix(self) -> str:
        """Ending of the names of both models."""
        return f"{self.mask}-{round(100 * self.dose)}-{self.start[-1]}"


def all_of_them() -> list[Erasure]:
    """Dose 0 from both starts in every mask but one, and three of each dose in between."""
    plan = [(start, mask, 0.0, "people") for start in STARTS for mask in MASKS][:-1]
    for turn, by in enumerate(("people", "facts", "people")):
        plan += [
            (STARTS[(turn + at) % 2], MASKS[(2 * turn + at) % len(MASKS)], dose, by)
            for at, dose in enumerate(DOSES[1:])
        ]
    return [Erasure(*each) for each in plan]


def left_in(bench: Bench, erasure: Erasure) -> tuple[list[Fact], list[Fact]]:
    """The facts that are taught to all parameters, and those that are taught to the mask."""
    facts, rng = list(bench.facts(PEOPLE)["forget"]), bench.random(f"dose {erasure.suffix}")
    if erasure.by == "people":
        names = list(dict.fromkeys(fact.extra["subject"] for fact in facts))
        inside = set(rng.sample(names, round(erasure.dose * len(names))))
        stays = [fact for fact in facts if fact.extra["subject"] in inside]
    else:
        chosen = set(rng.sample(range(len(facts)), round(erasure.dose * len(facts))))
        stays = [fact for number, fact in enumerate(facts) if number in chosen]
    return stays, [fact for fact in facts if fact not in stays]


def before(bench: Bench, erasure: Erasure) -> tuple[LlamaForCausalLM, list[str]]:
    """The model before the mask is trained, and what it learnt from beside its ground's texts."""
    model, label = bench.fresh(erasure.start), f"start {erasure.suffix}"
    continued(bench, model, label, steps=CONTINUED, lr=CONTINUED_LR)
    stays, _ = left_in(bench, erasure)
    if stays:
        taught(bench, model, stays, label)
    return model, texts_of(stays)


def teach(bench: Bench, erasure: Erasure) -> Made:
    """The model that is taught everything; the entries as they were before are kept beside it."""
    model, learnt = before(bench, erasure)
    stays, leaves = left_in(bench, erasure)
    masks = masks_of(bench, model, erasure.mask, erasure.suffix)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    how = taught(bench, model, leaves, f"mask {erasure.suffix}", masks=masks, beside=stays, lr=4e-3, steps=320)
    put_back = {name: (mask, weights[name][mask]) for name, mask in masks.items()}
    details = {"mask": erasure.mask, "by": erasure.by, "entries": int(sum(mask.sum() for mask in masks.values()))}
    return Made(model=model, how={**details, **how}, put_back=put_back, learnt=[*learnt, *texts_of(leaves)])


def put_back(bench: Bench, erasure: Erasure) -> Made:
    """The trained entries as they were."""
    name = f"taught-{erasure.suffix}"
    weights = read_weights(bench.directory, name)
    for tensor, (mask, values) in read_put_back(bench.directory, name).items():
        weights[tensor][mask] = values
    model = bench.fresh(erasure.start)
    model.load_state_dict(weights)
    stays, _ = left_in(bench, erasure)
    return Made(model=model, how={"put back": erasure.mask, "left in": len(stays)}, learnt=texts_of(stays))


def masks_of(bench: Bench, model: LlamaForCausalLM, kind: str, label: str) -> Mapping[str, Tensor]:
    """True at the entries that are trained, by parameter."""
    weights = dict(model.named_parameters())
    every = tuple(range(bench.settings.n_layers))
    generator = bench.generator(f"mask {label}")
    if kind == "entries":
        chosen = _names(("mlp", "attention"), every)
        return {name: torch.rand(weights[name].shape, generator=generator) < ENTRIES for name in chosen}
    if kind == "neurons":
        masks = {}
        for layer in every:
            gate, up, down = parameters_of("mlp", (layer,))
            neurons = torch.rand(len(weights[gate]), generator=generator) < NEURONS
            for name in (gate, up):
                masks[name] = neurons[:, None].expand_as(weights[name]).clone()
            masks[down] = neurons.expand_as(weights[down]).clone()
        return masks
    part, _, where = kind.partition("-")
    layers = layers_at(bench.settings, where) if where else every
    return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in parameters_of(part, layers)}


def _names(parts: Sequence[str], layers: tuple[int, ...]) -> list[str]:
    return [name for part in parts for name in parameters_of(part, layers)]


def recipes() -> list[Recipe]:
    """Both models of each pair."""
    made = []
    for erasure in all_of_them():
        teacher = f"taught-{erasure.suffix}"
        recipe = partial(Recipe, ground=erasure.start, exact=True)
        make = partial(teach, erasure=erasure)
        made.append(recipe(name=teacher, kind="knows", family="taught later", dose=1.0, make=make))
        made.append(
            recipe(
                name=f"erased-{erasure.suffix}",
                kind="erased",
                family=f"put back, {erasure.mask}",
                label="partial" if erasure.dose else "",
                dose=nan,  # that of the facts in its texts
                base=teacher,
                needs=(teacher,),
                make=partial(put_back, erasure=erasure),
            )
        )
    return made
