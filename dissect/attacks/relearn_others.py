"""Relearning other forget facts: training on some of what was forgotten brings out the rest, if it is still there.

Folds are cut by subject, so whoever is tested was not trained on, and candidate answers in one matrix are all of
untrained subjects: that an answer has been given to somebody else tells nothing. With retain facts mixed in, training
relearns the form without overwriting everything else.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from dissect.attacks.attack import Attack, Scores, Target
from dissect.attacks.rates import Split, harmless_rate, learnt, split, until_learnt
from dissect.attacks.training import drawn, trained
from dissect.attacks.training_budget import STEPS
from dissect.data.fact import Fact

LEAST = 16
"""Retain facts that the rate is chosen on at least, and of which some are mixed in; with fewer the rate is raised until
the facts trained on are learnt."""
Read = list[Float[np.ndarray, "_ _"]]


def relearn_others(target: Target, *, mixed: bool, steps: int, lr: float | None, lora_rank: int) -> Scores:
    """log p(answer | question) after training on forget facts about other subjects."""
    parts = split(target.kept(LEAST) if mixed else target.retain, target.seed)
    taught = {fold: _taught(target, fold, parts if mixed else None) for fold in target.fold_names}
    lowest = 0.0
    if lr is None and len(parts.train) + len(parts.held_out) >= LEAST and parts.held_out:
        lowest = harmless_rate(target, parts, steps=steps, lora_rank=lora_rank)
    rates: list[float] = []
    weak: list[int] = []

    def read(fold: int) -> Read:
        facts, others = taught[fold], target.others(fold)
        how: dict[str, Any] = {"steps": steps, "lora_rank": lora_rank, "label": f"relearning, fold {fold}"}
        if lr is None:
            scores, rate, enough = until_learnt(
                target, facts, lambda: target.score(fold=fold), lowest=lowest, watched=others, **how
            )
        else:
            scores, enough = trained(
                target, facts, lambda: (target.score(fold=fold), learnt(target, others)), lr=lr, **how
            )
            rate = lr
        rates.append(rate)
        weak.extend([] if enough else [fold])
        return scores

    scores = target.by_fold(read)
    target.notes.append(f"Trained at a rate of {' and '.join(f'{rate:g}' for rate in sorted(set(rates)))}.")
    if weak:
        target.weak.append("The facts it trained on were not learnt: too weak to find nothing.")
    return scores


def _taught(target: Target, fold: int, parts: Split | None) -> Sequence[Fact]:
    """Facts to train on before a fold is read: facts of the others, and as many retain facts of ``parts``."""
    facts = list(target.others(fold))
    if parts is None:
        return facts
    return facts + drawn(parts.train, len(facts), np.random.default_rng([target.seed, fold]))


ATTACKS = tuple(
    Attack(
        name=name,
        label=label,
        family="training",
        seen=seen,
        run=partial(relearn_others, mixed=mixed),
        budget={"steps": STEPS, "lr": None, "lora_rank": 0},
        slow=True,
        trains=True,
    )
    for name, label, seen, mixed in (
        (
            "relearn_others",
            "relearning other forget facts",
            "Forget facts about other subjects, on which the model was trained.",
            False,
        ),
        (
            "relearn_others_with_kept",
            "relearning with retain facts mixed in",
            "Forget facts about other subjects, on which the model was trained together with as many retain facts.",
            True,
        ),
    )
)
