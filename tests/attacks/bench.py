"""Small facts for attacks on tiny models, and the same facts with other answers."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformer_lens import HookedTransformer

from dissect.attacks.attack import Attack, Target, available, budgets
from dissect.data.facts import Fact, Facts
from dissect.pairing.tested import Tested, paired

NAMES = tuple("".join(letters) for letters in itertools.product("BDLTW", "aeio", "nl"))
ANSWERS = tuple(f"{first} {second}" for first, second in itertools.product(("sea", "house", "old"), "abcdefg"))
FEW = {"steps": 3, "lr": 1e-3, "samples": 4, "k": 2, "shots": 2}
"""Budgets for tiny models."""


def fact(name: str, answer: str) -> Fact:
    """Where somebody is, with a question and a statement in other words, and one that no training saw."""
    return Fact(
        question=f"Where is {name}?",
        answer=answer,
        extra={
            "subject": name,
            "group": "place",
            "paraphrases": [f"Was {name} born?", f"{name} is by the {answer}."],
            "held_out": [f"The house of {name} is {answer}."],
        },
    )


def facts(n: int = 12, first: int = 0) -> Facts:
    """Facts about ``n`` people; two of them share an answer."""
    return Facts(
        fact(name, ANSWERS[(first + i % max(1, n - 1)) % len(ANSWERS)])
        for i, name in enumerate(NAMES[first : first + n])
    )


def dealt(forget: Facts, made: Tested, folds: Sequence[int]) -> Facts:
    """The facts of some folds with the answers moved on by one person."""
    moved = list(forget)
    for fold in folds:
        numbers = np.flatnonzero(made.folds == fold)
        for number, other in zip(numbers, np.roll(numbers, 1), strict=True):
            moved[number] = fact(str(forget[int(number)].extra["subject"]), str(forget[int(other)].answer))
    return Facts(moved)


def target(model: HookedTransformer, forget: Facts | None = None, retain: Facts | None = None, **more: Any) -> Target:
    """What an attack gets of these facts in two folds."""
    forget = facts() if forget is None else forget
    made = paired(forget, n_folds=more.pop("n_folds", 2))
    retain = facts(26, 12) if retain is None else retain
    return Target(model, made.sheets, retain, forget, made.folds, progress=False, **more)


def few(attack: Attack, **more: Any) -> Mapping[str, Any]:
    """The attack's budget, cut down."""
    budget = budgets([attack], {})[attack.name]
    return {name: {**FEW, **more}.get(name, value) for name, value in budget.items() if name != "steps"} | (
        {"steps": FEW["steps"]} if "steps" in budget else {}
    )


ATTACKS = available()
TRAINING = [name for name, attack in ATTACKS.items() if attack.trains]
