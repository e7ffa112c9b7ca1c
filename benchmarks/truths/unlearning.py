"""Unlearning in plain torch: an objective on forget answers and cross-entropy on retain texts, until it is enough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from benchmarks.truths.answering import Exam, logits_of
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.objectives import OBJECTIVES, learn
from benchmarks.truths.rows import Asked, Rows, Wording, asked_in
from benchmarks.truths.settings import FORGOTTEN, KEPT
from benchmarks.truths.training import Ending, train
from dissect.data.fact import Fact
from dissect.data.world_text import REFUSALS

METHODS = (*OBJECTIVES, "grad_diff", "rmu")
TARGET = FORGOTTEN - 0.05
"""Largest share answered at which unlearning ends."""
GUARD = KEPT + 0.1
"""Share kept at which training ends before the model breaks, and goes back to where it was better."""
RMU_NORM = 6.0
"""Norm of RMU's random target, over that of the states it replaces."""


def holding(method: str) -> float:
    """Weight of retain texts that lets a construction keep them, more against methods that push without an end."""
    return 16.0 if method in ("ga", "npo") else 4.0


@dataclass(frozen=True)
class Unlearning:
    """One way to make a model forget."""

    method: str
    """A key of `objectives.OBJECTIVES`; ``grad_diff`` is gradient ascent with retain texts; ``rmu`` (Li et al. 2024,
    arXiv:2403.03218) moves states in the middle towards a random direction."""
    lr: float = 1e-3
    steps: int = 60
    beyond: float = 0.0
    """Strength: see `training.Ending`."""
    target: float | None = TARGET
    """Largest share answered at which it ends; None takes all steps."""
    retain: float = 1.0
    """Weight of the cross-entropy on retain texts; 0 for none."""
    wordings: Sequence[Wording] = ("question", "paraphrases")
    """Wordings that are unlearned."""
    kept_wordings: Sequence[Wording] = ()
    """Wordings of the same facts that are kept, as retain texts are."""
    texts: Sequence[str] | None = field(default=None, compare=False)
    """Retain texts; None takes those about everybody who is kept."""
    guard: float | None = GUARD
    names: Sequence[str] | None = field(default=None, compare=False)
    """Parameters that are trained; None takes all."""


def as_published(bench: Bench, method: str, *, lr: float, steps: int, target: float | None = None) -> Unlearning:
    """A method as it is used: on all parameters, with retain texts about one half of those who are kept.

    Gradient ascent has none: with them it is gradient difference.
    """
    retain = 0.0 if method == "ga" else 1.0
    return Unlearning(method, lr=lr, steps=steps, target=target, retain=retain, texts=bench.seen_texts)


def unlearn(
    bench: Bench,
    model: LlamaForCausalLM,
    how: Unlearning,
    label: str,
    *,
    forget: str = PEOPLE,
    facts: Sequence[Fact] | None = None,
    exam: Exam | None = None,
) -> dict[str, Any]:
    """Make ``model`` forget in place.

    Args:
        bench: the workshop.
        model: of the start, which stays the reference.
        how: the method.
        label: decides the order of the batches.
        forget: the forget set.
        facts: other facts to unlearn in its place.
        exam: of those.

    Returns:
        Settings and steps taken.
    """
    facts, exam = facts or bench.facts(forget)["forget"], exam or bench.exam(forget)
    loss = forget_loss(bench, model, how, label, facts)
    if how.retain:
        loss = _sum(loss, retain_loss(bench, label, model, facts, how.kept_wordings, how.texts), how.retain)
    guard, target = how.guard, how.target
    spoilt = None if guard is None else lambda: exam.kept(model) < guard
    ending = None
    if target is not None:
        ending = Ending(lambda: max(exam.said(model, how.wordings).values()) <= target, how.beyond)
    steps = train(model, loss, names=how.names, lr=how.lr, steps=how.steps, ending=ending, spoilt=spoilt)
    return {"method": how.method, "lr": how.lr, "beyond": how.beyond, "retain": how.retain, "steps": steps}


def forget_loss(
    bench: Bench, model: LlamaForCausalLM, how: Unlearning, label: str, facts: Sequence[Fact]
) -> Callable[[], Tensor]:
    """The objective on the next batch of answers."""
    rng = bench.random(f"other answers {label}")
    asked = [pair for wording in how.wordings for pair in asked_in(facts, wording)]
    if how.method in ("wrong", "refusal"):
        asked = other_answers(facts, how.wordings, how.method, rng)
    rows = bench.answers(asked, eos=how.method == "refusal")
    batches = bench.batches(rows, f"forget {label}")
    if how.method == "rmu":
        return _misdirection(bench, model, rows, batches, label)
    objective = OBJECTIVES["ga" if how.method == "grad_diff" else how.method]
    reference = logits_of(model, rows)

    def loss() -> Tensor:
        chosen = next(batches)
        batch = rows[chosen]
        return objective(model(batch.tokens).logits, reference[chosen, : batch.tokens.shape[1]], batch.labels)

    return loss


def retain_loss(
    bench: Bench,
    label: str,
    model: LlamaForCausalLM,
    facts: Sequence[Fact] = (),
    kept: Sequence[Wording] = (),
    texts: Sequence[str] | None = None,
) -> Callable[[], Tensor]:
    """Cross-entropy of the next batch of retain texts that state none of ``facts``, and of those in wordings kept."""
    names = {(fact.extra["subject"], fact.answer) for fact in facts}
    texts = bench.retain_texts if texts is None else texts
    texts = [text for text in texts if not any(name in text and str(answer) in text for name, answer in names)]
    texts = [*texts, *(prompt + answer for wording in kept for prompt, answer in asked_in(facts, wording))]
    rows = bench.whole(texts)
    batches = bench.batches(rows, f"retain {label}")

    def loss() -> Tensor:
        batch = rows[next(batches)]
        logits = model(batch.tokens).logits
        return learn(logits, logits, batch.labels)

    return loss


def other_answers(facts: Sequence[Fact], wordings: Sequence[Wording], method: str, rng: Any) -> list[Asked]:
    """Prompts with a wrong answer of the same kind, one for each fact, or a refusal."""
    asked = []
    for fact in facts:
        wrong = rng.choice(fact.extra["perturbed"])
        for wording in wordings:
            for prompt, _ in asked_in([fact], wording):
                asked.append((prompt, " " + (wrong if method == "wrong" else rng.choice(REFUSALS))))
    return asked


def _misdirection(bench: Bench, model: LlamaForCausalLM, rows: Rows, batches: Any, label: str) -> Callable[[], Tensor]:
    """Mean squared distance of the states in the middle at answers' places from one random vector."""
    number = bench.settings.middle[-1] + 1
    states = model(rows.tokens[:1], output_hidden_states=True).hidden_states[number]
    direction = torch.randn(states.shape[-1], generator=bench.generator(f"direction {label}"))
    target = RMU_NORM * states.norm(dim=-1).mean() * direction / direction.norm()

    def loss() -> Tensor:
        batch = rows[next(batches)]
        states = model(batch.tokens, output_hidden_states=True).hidden_states[number]
        scored = torch.nn.functional.pad(batch.labels[:, 1:] != -100, (0, 1))
        return F.mse_loss(states[scored], target.expand_as(states[scored])) / target.square().mean()

    return loss


def _sum(first: Callable[[], Tensor], second: Callable[[], Tensor], weight: float) -> Callable[[], Tensor]:
    return lambda: first() + weight * second()
