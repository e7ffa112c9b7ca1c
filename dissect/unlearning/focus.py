"""UnDIAL's focus: which tokens of an answer carry what is to be forgotten."""

import re
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.data.tokenise import encode
from dissect.errors import DissectError

KEY = "focus"
"""The key of a fact that holds its spans: a string of its answer, or a list of them."""
Spans = Callable[[Fact], Iterable[str]]
"""From a fact to the strings of its answer that are in focus, for instance its named entities."""


def focus_weights(
    prompts: Prompts, spans: Spans | None = None, *, inside: float, outside: float
) -> Float[Tensor, "prompt pos"]:
    """``inside`` for every answer token that carries a character of a span, ``outside`` for all others.

    Every whole-word occurrence of a span in the answer counts. Nothing is renormalised: with ``outside`` 0 the mean
    still runs over all answer tokens.

    Args:
        spans: instead of the facts' own ``focus``.

    Raises:
        DissectError: a fact without spans, a span that does not stand in its answer, tokens that are not those of the
            text.
    """
    weights = torch.full(prompts.tokens.shape, float(outside))
    for index, fact in enumerate(prompts.facts):
        try:
            for wanted in _spans(fact, spans):
                weights[index, _positions(prompts, index, wanted)] = inside
        except DissectError as error:
            raise DissectError(f"fact {index}: {error}") from error
    return weights


def _spans(fact: Fact, spans: Spans | None) -> list[str]:
    found = fact.extra.get(KEY, []) if spans is None else spans(fact)
    listed = [found] if isinstance(found, str) else list(found)
    if not listed or not all(isinstance(each, str) and each for each in listed):
        raise DissectError(
            f"it has no focus, got {found!r:.60}: put strings of its answer under {KEY!r}, or give focus_spans="
        )
    return listed


def _positions(prompts: Prompts, index: int, wanted: str) -> list[int]:
    text, start = prompts.texts[index], len(prompts.prompt_texts[index])
    encoded = encode(prompts.tokenizer, text)
    length = int(prompts.lengths[index])
    if list(encoded.ids[:length]) != prompts.tokens[index, :length].tolist():
        raise DissectError("its tokens are not those of its text (a model's own answer): focus needs given answers")
    characters = [
        found.span() for found in re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) if found.start() >= start
    ]
    if not characters:
        raise DissectError(f"{wanted!r} does not stand in its answer {text[start:]!r:.60}")
    answer = prompts.answer_mask[index]
    return [
        position
        for position, (first, last) in enumerate(encoded.offsets[:length])
        if bool(answer[position]) and any(first < end and last > begin and last > first for begin, end in characters)
    ]
