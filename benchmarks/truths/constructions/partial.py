"""Destroyed and repaired on kept facts: noise, parts drawn anew, a fresh student. What is left in them nobody knows."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from benchmarks.truths.answering import logits_of
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.constructions.blocks import parameters_of
from benchmarks.truths.constructions.knowing import noisy
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.training import Ending, train
from benchmarks.truths.unlearning import retain_loss
from dissect.reproductions.world_models import EMBEDDING_STD, MATRIX_STD

NOISES = (0.4, 0.55, 0.7)
DRAWN = ("mlps of upper half", "all mlps", "all attention")
LR, STEPS, STUDENT_STEPS = 2e-3, 200, 400
REPAIRED = 0.9
"""Share of kept facts answered at which repair ends."""


def repaired(bench: Bench, model: LlamaForCausalLM, label: str) -> int:
    """Train in place on everything about those who are kept, until it is answered again."""
    exam, texts = bench.exam(PEOPLE), bench.world.texts(bench.others)
    loss = retain_loss(bench, label, model, texts=texts)
    ending = Ending(lambda: exam.kept(model) >= REPAIRED, every=10)
    return train(model, loss, lr=LR, steps=STEPS, ending=ending, decay=True)


def noise_repaired(bench: Bench, scale: float, label: str) -> Made:
    """Noise in every matrix, then repair."""
    made = noisy(bench, scale, label)
    return Made(model=made.model, how={**made.how, "steps": repaired(bench, made.model, label)})


def drawn_anew(bench: Bench, what: str, label: str) -> Made:
    """Matrices drawn anew, then repair."""
    model, layers = bench.fresh("base"), tuple(range(bench.settings.n_layers))
    if what == "mlps of upper half":
        layers = layers[len(layers) // 2 :]
    generator = bench.generator(label)
    with torch.no_grad():
        for name in parameters_of("attention" if "attention" in what else "mlp", layers):
            model.get_parameter(name).normal_(0, MATRIX_STD, generator=generator)
    return Made(model=model, how={"drawn anew": what, "steps": repaired(bench, model, label)})


def student(bench: Bench, label: str) -> Made:
    """A fresh model learns what the base model predicts on texts about those who are kept."""
    model = bench.empty()
    generator = bench.generator(label)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, EMBEDDING_STD if "embed_tokens" in name else MATRIX_STD, generator=generator)
    rows, exam = bench.whole(bench.world.texts(bench.others)), bench.exam(PEOPLE)
    teacher = logits_of(bench.model_of("base"), rows).log_softmax(-1)
    batches = bench.batches(rows, label, 2 * bench.settings.batch_size)

    def loss() -> Tensor:
        chosen = next(batches)
        batch = rows[chosen]
        scored = batch.labels[:, 1:] != -100
        logits = model(batch.tokens).logits[:, :-1][scored]
        wanted = teacher[chosen, : batch.tokens.shape[1]][:, :-1][scored]
        return F.kl_div(logits.log_softmax(-1), wanted, log_target=True, reduction="batchmean")

    ending = Ending(lambda: exam.kept(model) >= REPAIRED, every=20)
    return Made(model=model, how={"steps": train(model, loss, lr=LR, steps=STUDENT_STEPS, ending=ending, decay=True)})


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="partial")
    made = []
    for scale in NOISES:
        name = f"noise-repaired-{scale}"
        made.append(recipe(name=name, family="noise and repair", make=partial(noise_repaired, scale=scale, label=name)))
    for what in DRAWN:
        name = f"drawn-anew-{what.replace(' ', '-')}"
        made.append(recipe(name=name, family="drawn anew", make=partial(drawn_anew, what=what, label=name)))
    made.append(recipe(name="student", family="distilled", make=partial(student, label="student")))
    return made
