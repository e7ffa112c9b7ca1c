"""Models that know: noise that changes nothing, training on kept facts, other people or one wording unlearned."""

from functools import partial

import torch

from benchmarks.truths.answering import Exam
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.learning import continued
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import asked_in
from benchmarks.truths.unlearning import Unlearning, holding, unlearn

NOISE = (0.03, 0.08)
"""Standard deviation of the noise over that of each tensor."""
CONTINUED = {"a": 1e-3, "b": 3e-4}
OTHERS_BY, ONE_WORDING_BY = ("ga", "npo", "undial"), ("npo", "undial", "wrong")
"""Methods by which other people, or one wording, are unlearned."""
STEPS, GENTLE = 40, 3e-4


def noisy(bench: Bench, scale: float, label: str) -> Made:
    """Gaussian noise on every matrix of the base model."""
    model = bench.fresh("base")
    generator = bench.generator(f"noise {label}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(scale * parameter.std() * torch.randn(parameter.shape, generator=generator))
    return Made(model=model, how={"noise": scale})


def on_kept(bench: Bench, lr: float, label: str) -> Made:
    """Training goes on with retain texts."""
    model = bench.fresh("base")
    return Made(model=model, how={"lr": lr, "steps": continued(bench, model, label, steps=STEPS, lr=lr)})


def others_unlearned(bench: Bench, method: str, label: str) -> Made:
    """Unlearn as many other people."""
    model = bench.fresh("base")
    first = bench.settings.n_forget
    facts = bench.world.facts(range(first, min(2 * first, bench.halfway)))
    whole = bench.exam(PEOPLE)
    asked = {wording: bench.answers(asked_in(facts, wording)) for wording in ("question", "paraphrases", "held_out")}
    exam = Exam(**asked, retain=whole.retain, texts=whole.texts)
    how = Unlearning(method, retain=holding(method), texts=bench.world.texts())
    return Made(model=model, how=unlearn(bench, model, how, label, facts=facts, exam=exam))


def one_wording(bench: Bench, method: str, label: str) -> Made:
    """The questions are unlearned; sentences about the same people are kept."""
    model = bench.fresh("base")
    how = Unlearning(method, lr=GENTLE, retain=holding(method), wordings=("question",), kept_wordings=("paraphrases",))
    return Made(model=model, how=unlearn(bench, model, how, label))


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="knows", dose=1.0, exact=True)
    made = []
    for scale in NOISE:
        name = f"noise-{scale}"
        made.append(recipe(name=name, family="noise", make=partial(noisy, scale=scale, label=name)))
    for which, lr in CONTINUED.items():
        name = f"kept-only-{which}"
        made.append(recipe(name=name, family="kept only", make=partial(on_kept, lr=lr, label=name)))
    for method in OTHERS_BY:
        name = f"others-{method}"
        make = partial(others_unlearned, method=method, label=name)
        made.append(recipe(name=name, family="others unlearned", make=make))
    for method in ONE_WORDING_BY:
        name = f"one-wording-{method}"
        made.append(recipe(name=name, family="one wording", make=partial(one_wording, method=method, label=name)))
    return made
