"""The sets of facts that checkpoints are asked about: those given, and what follows from them."""

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
"""Made of the forget facts where those carry what is needed and the set itself is not given."""


def fact_sets(given: Mapping[str, object]) -> dict[str, Facts]:
    """Check the sets that were given, and leave out those that were not.

    Raises:
        DissectError: a set that is no Facts or holds none, or one by a name that cannot be a set's.
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
    """The sets and, where they are not among them, the forget facts in other words."""
    found = dict(sets)
    for name, derive in DERIVED.items():
        if name not in found and "forget" in found and len(facts := derive(found["forget"])):
            found[name] = facts
    return found


def subjects(sets: Mapping[str, Facts]) -> dict[str, Int[np.ndarray, "fact"]]:
    """For each set in which facts share a subject, the number of each fact's: four facts about one person are not four.

    A fact's subject is its ``extra["subject"]``; the wordings of one forget fact belong together in any case.
    """
    found = {name: _subjects(facts) for name, facts in sets.items()}
    for name, derive in DERIVED.items():
        if name in sets and "forget" in sets:
            of_fact = [number for number, fact in enumerate(sets["forget"]) for _ in derive([fact])]
            if len(of_fact) == len(sets[name]):  # else the set was given, and is of other facts
                found[name] = found["forget"][of_fact]
    return {name: groups for name, groups in found.items() if len(np.unique(groups)) < len(groups)}


def _subjects(facts: Facts) -> Int[np.ndarray, "fact"]:
    numbers: dict[object, int] = {}
    keys = [("fact", i) if (key := fact.extra.get("subject")) is None else str(key) for i, fact in enumerate(facts)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def answered(facts: Facts, model: HookedTransformer, **how: Any) -> Facts:
    """The facts with the model's own greedy answers in place of theirs; plain texts stay.

    Args:
        how: ``template``, ``chat``, ``max_new_tokens``, ``batch_size`` of ``Facts.prompts``.

    Raises:
        DissectError: the model answers nothing to one of them.
    """
    asked = facts.filter(lambda fact: fact.kind != "text")
    if not len(asked):
        return facts
    said = iter(asked.prompts(model, answers="base", progress=False, **how).answer_texts)
    return Facts(fact if fact.kind == "text" else _with_answer(fact, next(said)) for fact in facts)


def _with_answer(fact: Fact, said: str) -> Fact:
    if fact.kind == "prompt":
        return replace(fact, completion=said)
    return replace(fact, answer=said.strip() or said)


def fingerprint(facts: Facts) -> str:
    """A hash over everything that the facts hold."""
    rows = json.dumps([fact.row() for fact in facts], sort_keys=True, default=str)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]
