"""Behaviour of a model: whether its greedy answers hold the right one; perplexity on plain texts."""

import re
from collections import Counter
from collections.abc import Sequence
from math import exp

import numpy as np
import torch
from jaxtyping import Float
from transformer_lens import HookedTransformer

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.variants import CLOSING, restated
from dissect.measures.behaviour.contains import short_answers, stands_in
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.pairing.asking import Asking
from dissect.pairing.scoring import whole_logprobs

AS_ASKED = "as asked"
WORDINGS = {"paraphrases": "in other words", "held_out": "in words that training never saw"}
"""Keys of ``extra`` that hold a question in other words, and what results call them."""
_ROOM = 2
"""Tokens that a greedy answer may have more than the longest right one; in a chat, ``max_new_tokens`` if that is more:
chat models answer in sentences."""


def answered(
    model: HookedTransformer, facts: Facts, asking: Asking, *, progress: bool = False
) -> Float[np.ndarray, " fact"]:
    """1 where the greedy answer holds the right one as whole words, else 0; NaN for plain texts and without answers.

    Case, spaces and closing punctuation do not matter. Where a fact has short answers (``extra["short"]``) one of them
    must stand there, as the measure ``contains`` reads them: accents do not matter either.

    Raises:
        Undefined: a short answer that is no text.
    """
    held = np.full(len(facts), np.nan)
    numbers = [i for i, fact in enumerate(facts) if fact.kind != "text" and fact.target]
    if not numbers:
        return held
    prompts = asking.prompts([facts[i] for i in numbers], model)
    rows = [row[:length] for row, length in zip(prompts.tokens, prompts.prompt_lengths.tolist(), strict=True)]
    longest = int(prompts.answer_lengths.max()) + _ROOM
    generated = greedy(
        model,
        rows,
        max_new_tokens=longest if prompts.chat is None else max(longest, asking.max_new_tokens),
        eos_ids=eos_token_ids(model) | prompts.ends,
        batch_size=asking.batch_size,
        progress=progress,
    )
    for i, new in zip(numbers, generated, strict=True):
        held[i] = float(holds(model.tokenizer.decode(new.tolist(), skip_special_tokens=True), facts[i]))
    return held


def in_all_wordings(model: HookedTransformer, facts: Facts, asking: Asking) -> dict[str, Float[np.ndarray, " fact"]]:
    """`answered` by wording, for each fact the mean over its texts of that kind; NaN where it has none."""
    said = {AS_ASKED: answered(model, facts, asking)}
    for key, name in WORDINGS.items():
        owners, ways = [], []
        for number, fact in enumerate(facts):
            for way in restated([fact], key):
                owners.append(number)
                ways.append(way)
        if ways:
            each = answered(model, Facts(ways), asking)
            counts = np.bincount(owners, weights=np.isfinite(each), minlength=len(facts))
            sums = np.bincount(owners, weights=np.nan_to_num(each), minlength=len(facts))
            said[name] = np.divide(sums, counts, out=np.full(len(facts), np.nan), where=counts > 0)
    return said


def holds(said: str, fact: Fact) -> bool:
    """Return whether an answer is right: it holds one of the fact's short answers, or without any its whole answer.

    Raises:
        Undefined: a short answer that is no text.
    """
    short = short_answers(fact)
    return any(stands_in(text, said) for text in short) if short else _holds(said, str(fact.target))


def perplexity(model: HookedTransformer, texts: Facts, asking: Asking) -> float:
    """exp of the mean of -log p over all tokens but the first of each text; long texts are cut into windows."""
    prompts = asking.windows([Fact(text=fact.text or fact.row()[fact.kind]) for fact in texts], model)
    logprobs = whole_logprobs(model, prompts, asking.batch_size)
    mean = -sum(logprobs) / int(torch.as_tensor(prompts.answer_lengths).sum())
    return exp(min(mean, 700.0))


def _holds(said: str, wanted: str) -> bool:
    said, wanted = _plain(said), _plain(wanted)
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", said) is not None


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(CLOSING).casefold()


def sampled(facts: Sequence[Fact], most: int, subject: str, seed: int) -> Facts:
    """At most about ``most`` facts: whole subjects at random, in the facts' order."""
    names = [str(fact.extra.get(subject) or number) for number, fact in enumerate(facts)]
    order = np.random.default_rng(seed).permutation(sorted(set(names))).tolist()
    counts = Counter(names)
    kept, size = set(), 0
    for name in order:
        if size >= most:
            break
        kept.add(name)
        size += counts[name]
    return Facts(fact for fact, name in zip(facts, names, strict=True) if name in kept)
