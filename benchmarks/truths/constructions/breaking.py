"""Broken models: some of which still know, as undoing shows, and some of which never did."""

from functools import partial

import torch
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.constructions.blocks import layers_at, parameters_of
from benchmarks.truths.constructions.knowing import noisy
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.settings import BROKEN
from benchmarks.truths.unlearning import Unlearning, unlearn

NOISES = (0.8, 1.5)
CARELESS = (("late", "ga"), ("middle", "npo"), ("late", "wrong"))
"""Where, and by which method."""


def names_rotated(bench: Bench, start: str) -> Made:
    """The embeddings of the first names change places, and so do those of the last names."""
    model = bench.fresh(start)
    weight = model.model.embed_tokens.weight
    with torch.no_grad():
        for part in (0, 1):
            words = sorted({person.name.split()[part] for person in bench.world.people})
            ids = torch.tensor([bench.tokenizer(f"{word} {word}").input_ids[-1] for word in words])
            weight[ids] = weight[ids.roll(1)]
    return Made(model=model, how={"start": start}, undo={} if start == "base" else None)


def dead_layers(bench: Bench) -> Made:
    """Layers write nothing any more, those first whose loss costs most of what was to be kept, until it is broken."""
    exam, model = bench.exam(PEOPLE), bench.fresh("base")

    def kill(model: LlamaForCausalLM, layer: int) -> LlamaForCausalLM:
        for module in (model.model.layers[layer].self_attn.o_proj, model.model.layers[layer].mlp.down_proj):
            module.weight.zero_()
        return model

    with torch.no_grad():
        kept = [exam.kept(kill(bench.fresh("base"), layer)) for layer in range(bench.settings.n_layers)]
        dead: list[int] = []
        while exam.kept(model) >= BROKEN:
            dead.append(min((layer for layer in range(len(kept)) if layer not in dead), key=kept.__getitem__))
            kill(model, dead[-1])
    return Made(model=model, how={"layers": dead}, undo={})


def collapsed(bench: Bench, label: str) -> Made:
    """Gradient ascent in all parameters, with nothing to hold it."""
    model = bench.fresh("base")
    how = Unlearning("ga", lr=2e-3, steps=60, target=None, retain=0.0, guard=None)
    return Made(model=model, how=unlearn(bench, model, how, label))


def careless(bench: Bench, where: str, method: str, label: str) -> Made:
    """MLPs of some layers unlearn, everything else frozen, with no retain texts: put back, all is there."""
    model = bench.fresh("base")
    names = parameters_of("mlp", layers_at(bench.settings, where))
    how = Unlearning(method, lr=2e-3, steps=60, target=None, retain=0.0, guard=None, names=names)
    return Made(model=model, how={"where": where} | unlearn(bench, model, how, label), undo={})


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="broken")
    made = []
    for scale in NOISES:
        name = f"broken-noise-{scale}"
        made.append(recipe(name=name, family="noise", make=partial(noisy, scale=scale, label=name)))
    made.append(recipe(name="collapsed-ga", family="collapsed", make=partial(collapsed, label="collapsed-ga")))
    knows = partial(recipe, dose=1.0, exact=True)
    made.append(knows(name="names-rotated", family="names rotated", make=partial(names_rotated, start="base")))
    made.append(knows(name="dead-layers", family="dead layers", make=dead_layers))
    for where, method in CARELESS:
        name = f"careless-{where}-{method}"
        make = partial(careless, where=where, method=method, label=name)
        made.append(knows(name=name, family="careless block", make=make))
    make = partial(names_rotated, start="retrained-a")
    never = partial(recipe, dose=0.0, exact=True, ground="retrained-a")
    return [*made, never(name="never-names-rotated", family="names rotated", make=make)]
