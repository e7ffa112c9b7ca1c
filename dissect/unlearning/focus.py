"""Focus: the tokens of an answer that carry what is to be forgotten, weighed apart from the others."""

import re
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.errors import DissectError

KEY = "focus"
"""The key of a fact that holds its spans: a string of its answer, or a list of them."""
Spans = Callable[[Fact], Iterable[str]]
"""Function from a fact to the strings of its answer that are in focus, e.g. its named entities."""


def focus_weights(
    prompts: Prompts, spans: Spans | None = None, *, inside: float, outside: float
) -> Float[Tensor, "prompt pos"]:
    """Weigh every answer token that carries a character of a span ``inside``, and all others ``outside``.

    Every whole-word occurrence of a span in the answer counts. Nothing is renormalised: with ``outside`` 0 the mean
    still runs over all answer tokens.

    Args:
        spans: used instead of the facts' own ``focus``.

    Raises:
        DissectError: a fact without spans, a span that its answer does not contain, tokens that are not those of the
            text.
    """
    weights = torch.full(prompts.tokens.shape, float(outside))
    for index, fact in enumerate(prompts.facts):
        try:
            for span in _spans(fact, spans):
                weights[index, _positions(prompts, index, span)] = inside
        except DissectError as error:
            raise DissectError(f"fact {index}: {error}") from error
    return weights


def _spans(fact: Fact, spans: Spans | None) -> list[str]:
    """Strings of the answer that are in focus."""
    stated = fact.extra.get(KEY, []) if spans is None else spans(fact)
    strings = [stated] if isinstance(stated, str) else list(stated)
    if not strings or not all(isinstance(string, str) and string for string in strings):
        raise DissectError(
            f"its focus must be strings of its answer, got {stated!r:.60}: put them under {KEY!r}, or give focus_spans="
        )
    return strings


def _positions(prompts: Prompts, index: int, span: str) -> list[int]:
    """Positions of the answer tokens that share a character with an occurrence of ``span``."""
    text, start = prompts.texts[index], len(prompts.prompt_texts[index])
    encoded = prompts.encoded(index)
    length = int(prompts.lengths[index])
    if list(encoded.ids[:length]) != prompts.tokens[index, :length].tolist():
        raise DissectError(
            "its tokens are not those of its text (a model's own answer): focus needs the facts' answers"
        )
    words = re.finditer(rf"(?<!\w){re.escape(span)}(?!\w)", text)
    characters = [word.span() for word in words if word.start() >= start]
    if not characters:
        raise DissectError(f"its answer {text[start:]!r:.60} does not contain {span!r}: correct the focus")
    answer = prompts.answer_mask[index]
    return [
        position
        for position, (first, last) in enumerate(encoded.offsets[:length])
        if bool(answer[position]) and any(first < end and last > begin and last > first for begin, end in characters)
    ]
