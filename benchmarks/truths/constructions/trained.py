"""The base model put through each method in all of its parameters: what is left in it is the question, not known."""

from functools import partial

from benchmarks.truths.bench import Bench
from benchmarks.truths.constructions.never import LR, STEPS
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.unlearning import METHODS, TARGET, as_published, unlearn

UNTIL = ("npo", "undial", "simnpo", "wrong", "refusal")
"""Methods that are also run gently until enough is forgotten."""


def as_never(bench: Bench, method: str, label: str) -> Made:
    """Unlearning as the models that never knew are put through it: so many steps at the same rate."""
    model = bench.fresh("base")
    return Made(model=model, how=unlearn(bench, model, as_published(bench, method, lr=LR, steps=STEPS), label))


def until_forgotten(bench: Bench, method: str, label: str) -> Made:
    """With a smaller rate and without more than it needs."""
    model = bench.fresh("base")
    how = as_published(bench, method, lr=LR / 2, steps=120, target=TARGET)
    return Made(model=model, how=unlearn(bench, model, how, label))


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="unlabelled")
    made = []
    for method in METHODS:
        name = f"trained-{method}"
        made.append(recipe(name=name, family="trained", make=partial(as_never, method=method, label=name)))
    for method in UNTIL:
        name = f"trained-gently-{method}"
        made.append(
            recipe(name=name, family="trained gently", make=partial(until_forgotten, method=method, label=name))
        )
    return made
