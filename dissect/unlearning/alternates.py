"""Alternate answers: what DPO prefers to the answers to be forgotten."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.make_prompts import make_prompts
from dissect.data.prompts import Prompts
from dissect.data.world_text import REFUSALS
from dissect.errors import DissectError

IDK = (
    "I don't know.",
    "I'm not sure about that.",
    "I have no information on this.",
    "That is not something I know.",
    "I cannot answer that.",
    "I have never heard of it.",
)
"""Alternate answers for facts that have none of their own; one is drawn for each fact."""
KEY = "alternate"
"""The key of a fact that holds an answer of its own."""


def alternates(prompts: Prompts, model: object, *, answers: Sequence[str] | None = None, seed: int = 0) -> Prompts:
    """Ask the same questions with alternate answers, row by row.

    Args:
        answers: one for each prompt; by default the fact's own ``alternate``, or one of ``IDK`` where it has none.
        seed: seed of the draw.

    Raises:
        DissectError: plain texts, which have no question, or not as many answers as prompts.
    """
    if answers is not None and len(answers) != len(prompts):
        raise DissectError(
            f"{len(answers)} alternate answers for {len(prompts)} forget facts: give one for each, in order"
        )
    rng, rows = random.Random(f"idk {seed}"), []
    refusals = _known(prompts)
    for index, (fact, prompt) in enumerate(zip(prompts.facts, prompts.prompt_texts, strict=True)):
        if not prompt:
            raise DissectError(
                f"fact {index} is a plain text: alternate answers need a question, give one or use another method"
            )
        drawn = rng.choice(refusals)
        answer = str(fact.extra.get(KEY, drawn)) if answers is None else answers[index]
        if prompts.chat is not None:  # the template writes the turn anew, with the other answer in it
            rows.append(_answered_by(fact, answer))
            continue
        space = "" if prompt[-1].isspace() or answer[:1].isspace() else " "
        rows.append(Fact(prompt=prompt, completion=space + answer))
    prompting: dict[str, Any] = {"template": prompts.template, "chat": prompts.chat or False}
    return make_prompts(Facts(rows), model, progress=False, **prompting)


def _answered_by(fact: Fact, answer: str) -> Fact:
    if fact.question is not None:
        return replace(fact, answer=answer)
    return replace(fact, completion=answer)


def _known(prompts: Prompts) -> Sequence[str]:
    """Refusals that the tokenizer can spell; a word-level tokenizer knows only those of its own world."""
    tokenizer = prompts.tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return IDK
    spelt = [text for text in IDK if unknown not in tokenizer(text)["input_ids"]]
    return spelt or REFUSALS
