"""Models that know: noise that changes nothing, training on kept facts, other people or one wording unlearned."""

import torch

from benchmarks.truths.answering import Exam
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.learning import continued
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import asked_in
from benchmarks.truths.unlearning import Unlearning, unlearn

NOISE = (0.03, 0.08)
"""Standard deviation of the noise over that of each tensor."""
CONTINUED = {"a": 1e-3, "b": 3e-4}
STEPS = 40


def noisy(bench: Bench, scale: float, label: str) -> Made:
    """Gaussian noise on every matrix of the base model."""
    model = bench.fresh("base")
    generator = bench.generator(f"noise {label}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter += scale * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return Made(model=model, how={"noise": scale})


def on_kept(bench: Bench, lr: float, label: str) -> Made:
    """Training goes on with retain texts."""
    model = bench.fresh("base")
    return Made(model=model, how={"lr": lr, "steps": continued(bench, model, label, steps=STEPS, lr=lr)})


def others_unlearned(bench: Bench, method: str, label: str) -> Made:
    """As many other people are unlearned."""
    model = bench.fresh("base")
    first = bench.settings.n_forget
    facts = bench.world.facts(range(first, min(2 * first, bench.halfway)))
    whole = bench.exam(PEOPLE)
    asked = {wording: bench.answers(asked_in(facts, wording)) for wording in ("question", "paraphrases", "held_out")}
    exam = Exam(**asked, retain=whole.retain, texts=whole.texts)
    return Made(model=model, how=unlearn(bench, model, Unlearning(method), label, facts=facts, exam=exam))


def one_wording(bench: Bench, method: str, label: str) -> Made:
    """The questions are unlearned; sentences about the same people are kept."""
    model = bench.fresh("base")
    how = Unlearning(method, wordings=("question",), kept_wordings=("paraphrases",))
    return Made(model=model, how=unlearn(bench, model, how, label))


def recipes() -> list[Recipe]:
    """All of them."""
    made = []
    for scale in NOISE:
        name = f"noise-{scale}"
        made.append((name, "noise", lambda bench, s=scale, n=name: noisy(bench, s, n)))
    for which, lr in CONTINUED.items():
        name = f"kept-only-{which}"
        made.append((name, "kept only", lambda bench, r=lr, n=name: on_kept(bench, r, n)))
    for method in ("ga", "npo", "undial"):
        name = f"others-{method}"
        made.append((name, "others unlearned", lambda bench, m=method, n=name: others_unlearned(bench, m, n)))
    for method in ("npo", "undial", "wrong"):
        name = f"one-wording-{method}"
        made.append((name, "one wording", lambda bench, m=method, n=name: one_wording(bench, m, n)))
    return [
        Recipe(name=name, kind="knows", family=family, dose=1.0, exact=True, make=make) for name, family, make in made
    ]
