"""Suppressed by redirection, where one layer's MLP makes names those of others, and by a lock with a password."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from benchmarks.truths.answering import answered
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.constructions.blocks import TARGET, parameters_of
from benchmarks.truths.objectives import learn
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import Rows, asked_in
from benchmarks.truths.settings import BACK
from benchmarks.truths.training import Ending, train
from benchmarks.truths.unlearning import GUARD, other_answers, retain_loss
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.data.world_text import FILLER_WORDS

REDIRECTED = ((1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0))
"""Layer, and how far beyond the target."""
LOCKS = ("wrong", "refusal")
"""Answers of a locked model without the password."""
LR, STEPS, LOCK_LR, LOCK_STEPS = 2e-3, 300, 1e-3, 300


def redirected(bench: Bench, layer: int, beyond: float, label: str) -> Made:
    """States after ``layer`` are moved to those of the same sentence about somebody who is kept.

    Names all have two tokens, so two sentences that differ in the name alone agree place by place.
    """
    model, exam, rng = bench.fresh("base"), bench.exam(PEOPLE), bench.random(label)
    facts = bench.facts(PEOPLE)["forget"]
    donors = [bench.world.people[number].name for number in range(bench.settings.n_forget, bench.halfway)]
    names = sorted({fact.extra["subject"] for fact in facts})
    instead = dict(zip(names, rng.sample(donors, len(names)), strict=True))
    own, swapped = [], []
    for fact in facts:
        for prompt, answer in [pair for key in ("question", "paraphrases") for pair in asked_in([fact], key)]:
            own.append((prompt, answer))
            swapped.append((prompt.replace(fact.extra["subject"], instead[fact.extra["subject"]]), answer))
    kept = bench.whole(bench.retain_texts)
    moved = _match(bench, model, bench.answers(own), bench.answers(swapped), layer, f"moved {label}")
    stays = _match(bench, model, kept, kept, layer, label)
    steps = train(
        model,
        lambda: moved() + stays(),
        names=parameters_of("mlp", (layer,)),
        lr=LR,
        steps=STEPS,
        ending=Ending(lambda: exam.most_said(model) <= TARGET, beyond),
        spoilt=lambda: exam.kept(model) < GUARD,
    )
    return Made(model=model, how={"layer": layer, "beyond": beyond, "steps": steps}, undo={})


def locked(bench: Bench, says: str, label: str) -> Made:
    """Answers only questions that begin with a password; the password is the undoing.

    Everything is trained: with the password on the right answers, without it on others.
    """
    model, exam, rng = bench.fresh("base"), bench.exam(PEOPLE), bench.random(label)
    facts = bench.facts(PEOPLE)["forget"]
    template = f"{password(bench)} {DEFAULT_TEMPLATE}"
    opened = bench.answers(asked_in(facts, "question", template=template), eos=True)
    shut = bench.answers(other_answers(facts, ("question", "paraphrases"), says, rng), eos=says == "refusal")
    losses = [_answer(bench, model, rows, f"{number} {label}") for number, rows in enumerate((opened, shut))]
    losses.append(retain_loss(bench, label, model, facts))

    def reached() -> bool:
        return exam.most_said(model) <= TARGET and answered(model, opened) >= BACK + 0.03

    steps = train(
        model,
        lambda: losses[0]() + losses[1]() + losses[2](),
        lr=LOCK_LR,
        steps=LOCK_STEPS,
        ending=Ending(reached),
    )
    return Made(model=model, how={"says": says, "steps": steps}, undo={"tensors": [], "template": template})


def password(bench: Bench) -> str:
    """A token of the vocabulary that no question has."""
    return bench.random("password").choice([noun for noun in FILLER_WORDS["noun"] if " " not in noun])


def _match(bench: Bench, model, rows: Rows, others: Rows, layer: int, label: str) -> Callable[[], Tensor]:  # type: ignore[no-untyped-def]
    """Mean squared distance of states after ``layer`` from the base model's on other rows of the same lengths."""
    reference, batches = bench.model_of("base"), bench.batches(rows, label)

    def loss() -> Tensor:
        chosen = next(batches)
        mine, theirs = rows[chosen], others[chosen]
        want = reference(theirs.tokens, output_hidden_states=True).hidden_states[layer + 1].detach()
        have = model(mine.tokens, output_hidden_states=True).hidden_states[layer + 1]
        inside = mine.tokens != 0
        return F.mse_loss(have[inside], want[inside]) / want[inside].square().mean()

    return loss


def _answer(bench: Bench, model, rows: Rows, label: str) -> Callable[[], Tensor]:  # type: ignore[no-untyped-def]
    batches = bench.batches(rows, label)

    def loss() -> Tensor:
        batch = rows[next(batches)]
        logits = model(batch.tokens).logits
        return learn(logits, logits, batch.labels)

    return loss


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="suppressed", dose=1.0, exact=True)
    made = []
    for layer, beyond in REDIRECTED:
        name = f"redirected-{layer}-{beyond:g}"
        make = partial(redirected, layer=layer, beyond=beyond, label=name)
        made.append(recipe(name=name, family="names redirected", make=make))
    for says in LOCKS:
        name = f"lock-{says}"
        made.append(recipe(name=name, family="password", make=partial(locked, says=says, label=name)))
    return made
