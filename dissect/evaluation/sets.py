"""Sets of facts that checkpoints are asked about: those given, and those derived from them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int
from transformer_lens import HookedTransformer

from dissect.data.facts import Fact, Facts
from dissect.data.variants import held_out, paraphrased
from dissect.errors import DissectError

DERIVED = {"paraphrased": paraphrased, "held_out": held_out}
"""Sets derived from the forget facts, where these carry what is needed and the set itself is not given."""


def fact_sets(given: Mapping[str, object]) -> dict[str, Facts]:
    """Check the sets that were given, and drop those that were not.

    Raises:
        DissectError: a set that is not Facts or is empty, or a name that is not an identifier.
    """
    sets: dict[str, Facts] = {}
    for name, facts in given.items():
        if facts is None:
            continue
        if not isinstance(facts, Facts):
            raise DissectError(f"{name} must be Facts, got {type(facts).__name__}: use dissect.Facts.read(path)")
        if not len(facts):
            raise DissectError(f"{name} holds no facts: leave it out or give some")
        if not name.isidentifier():
            raise DissectError(f"a set cannot be called {name!r}: use a name such as 'neighbours'")
        sets[name] = facts
    return sets


def with_derived(sets: Mapping[str, Facts]) -> dict[str, Facts]:
    """Add the forget facts in other words, where those sets are not given."""
    every = dict(sets)
    for name, derive in DERIVED.items():
        if name not in every and "forget" in every and len(facts := derive(every["forget"])):
            every[name] = facts
    return every


def subjects(sets: Mapping[str, Facts]) -> dict[str, Int[np.ndarray, " fact"]]:
    """Number the subjects of each set in which facts share one: four facts about one person are not four.

    A fact's subject is its ``extra["subject"]``; the wordings of one forget fact belong together in any case.
    """
    numbers = {name: _subjects(facts) for name, facts in sets.items()}
    for name, derive in DERIVED.items():
        if name in sets and "forget" in sets:
            of_fact = [number for number, fact in enumerate(sets["forget"]) for _ in derive([fact])]
            if len(of_fact) == len(sets[name]):  # else the set was given, and is of other facts
                numbers[name] = numbers["forget"][of_fact]
    return {name: groups for name, groups in numbers.items() if len(np.unique(groups)) < len(groups)}


def _subjects(facts: Facts) -> Int[np.ndarray, " fact"]:
    numbers: dict[object, int] = {}
    keys = [("fact", i) if (key := fact.extra.get("subject")) is None else str(key) for i, fact in enumerate(facts)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def answered(facts: Facts, model: HookedTransformer, **asking: Any) -> Facts:
    """Replace the answers of facts by the model's own greedy ones; plain texts stay.

    Args:
        asking: ``template``, ``chat``, ``max_new_tokens``, ``batch_size`` of ``Facts.prompts``.

    Raises:
        DissectError: the model gives no answer to one of them.
    """
    questions = facts.filter(lambda fact: fact.kind != "text")
    if not len(questions):
        return facts
    said = iter(questions.prompts(model, answers="base", progress=False, **asking).answer_texts)
    return Facts(fact if fact.kind == "text" else _with_answer(fact, next(said)) for fact in facts)


def _with_answer(fact: Fact, said: str) -> Fact:
    if fact.kind == "prompt":
        return replace(fact, completion=said)
    return replace(fact, answer=said.strip() or said)


def fingerprint(facts: Facts) -> str:
    """Return a hash over everything that the facts hold."""
    rows = json.dumps([fact.row() for fact in facts], sort_keys=True, default=str)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]
