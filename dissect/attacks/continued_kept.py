"""Continued training on retain facts alone: it repairs what unlearning damaged on the way to an answer."""

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.attacks.rates import split, strongest
from dissect.attacks.training import trained
from dissect.attacks.training_budget import STEPS

LEAST = 16
"""Retain facts that are trained on at least."""
LABEL = "training on retain facts"


def continued_kept(target: Target, *, steps: int, lr: float | None, lora_rank: int) -> Scores:
    """log p(answer | question) after training on retain facts, none of them about a tested subject."""
    parts = split(target.kept(LEAST), target.seed)
    if len(parts.train) < LEAST or not parts.held_out:
        raise NotPossible(
            f"needs {LEAST} retain facts to train on, beside others that choose the rate, got {len(parts.train)} and "
            f"{len(parts.held_out)}: pass retain=..."
        )
    if lr is None:
        scores, lr = strongest(target, parts, target.score, steps=steps, lora_rank=lora_rank, label=LABEL)
    else:
        scores = trained(target, parts.train, target.score, steps=steps, lr=lr, lora_rank=lora_rank, label=LABEL)
    target.notes.append(f"Trained at a rate of {lr:g}.")
    return scores


ATTACK = Attack(
    name="continued_kept",
    label="continued training on retain facts",
    family="training",
    seen="Retain facts, on which the model was trained further.",
    run=continued_kept,
    budget={"steps": STEPS, "lr": None, "lora_rank": 0},
    slow=True,
    trains=True,
)
