"""Learning in plain torch: texts into all parameters or into some of their entries, until they are answered."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.truths.answering import answered
from benchmarks.truths.bench import PEOPLE, Bench
from benchmarks.truths.objectives import learn
from benchmarks.truths.rows import asked_in, texts_of
from benchmarks.truths.training import Ending, train
from benchmarks.truths.unlearning import retain_loss
from dissect.data.fact import Fact

LEARNT = 0.98
"""Share answered as asked at which learning ends."""


def continued(bench: Bench, model: LlamaForCausalLM, label: str, *, steps: int, lr: float, decay: bool = False) -> int:
    """Train on retain texts alone."""
    return train(model, retain_loss(bench, label, model), lr=lr, steps=steps, decay=decay)


def taught(
    bench: Bench,
    model: LlamaForCausalLM,
    facts: Sequence[Fact],
    label: str,
    *,
    masks: Mapping[str, Tensor] | None = None,
    beside: Sequence[Fact] = (),
    lr: float = 2e-3,
    steps: int = 240,
) -> dict[str, Any]:
    """Teach facts in place until they and the retain facts are answered, with as many retain texts in each batch.

    Args:
        bench: the workshop.
        model: what learns.
        facts: what is taught.
        label: decides the order of the batches.
        masks: entries that may change; None lets all.
        beside: facts that it knows and should not lose, which join the retain texts.
        lr: learning rate.
        steps: at most so many.

    Returns:
        Steps taken and the share answered.
    """
    questions, exam = bench.answers(asked_in([*facts, *beside], "question")), bench.exam(PEOPLE)

    def reached() -> bool:
        return min(answered(model, questions), answered(model, exam.retain)) >= LEARNT

    new = texts_loss(bench, model, texts_of(facts), f"new {label}")
    kept = retain_loss(bench, label, model, texts=[*bench.retain_texts, *texts_of(beside)])
    ending = Ending(reached, beyond=0.25, every=8)
    taken = train(model, lambda: new() + kept(), masks=masks, lr=lr, steps=steps, ending=ending, decay=True)
    return {"taught": len(facts), "steps": taken, "lr": lr, "answered": answered(model, questions)}


def texts_loss(bench: Bench, model: LlamaForCausalLM, texts: Sequence[str], label: str) -> Callable[[], Tensor]:
    """Cross-entropy of the next batch of texts."""
    rows = bench.whole(texts)
    batches = bench.batches(rows, label)

    def loss() -> Tensor:
        batch = rows[next(batches)]
        logits = model(batch.tokens).logits
        return learn(logits, logits, batch.labels)

    return loss
