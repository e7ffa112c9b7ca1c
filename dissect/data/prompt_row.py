"""One prompt before padding: the tokens of a fact, with the answer and the subject marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dissect.data.fact import Fact
from dissect.data.render import Rendered, render
from dissect.data.tokenise import Encoded, answer_start, encode, subject_positions
from dissect.errors import DissectError


@dataclass(frozen=True)
class PromptRow:
    """One prompt before padding."""

    ids: Sequence[int]
    start: int
    """The first scored token."""
    stop: int
    """One past the last scored token."""
    subject: Sequence[int]
    rendered: Rendered
    tail: str = ""
    """Text that a chat template writes after the answer."""


def plain_row(fact: Fact, tokenizer: Any, template: str) -> PromptRow:
    """The fact with its own answer: the boundary is found in the tokens of the whole text.

    Raises:
        DissectError: there is no answer, or none that becomes a token that can be scored.
    """
    rendered = render(fact, template)
    if rendered.target is None:
        raise DissectError(without_answer(fact))
    text = rendered.prompt + rendered.target
    encoded = encode(tokenizer, text)
    stop = len(encoded.ids) - encoded.trailing
    start = 1 if fact.kind == "text" else answer_start(encoded, len(rendered.prompt))
    check_span(rendered.target, start, stop)
    subject = subject_tokens(fact, encoded, text, end=stop if fact.kind == "text" else start)
    return PromptRow(encoded.ids, start, stop, subject, rendered)


def plain_prompt(fact: Fact, tokenizer: Any, template: str) -> PromptRow:
    """The fact without an answer: the prompt's own tokens, from which a model can go on.

    Raises:
        DissectError: a plain text, or a prompt that becomes no token.
    """
    rendered = render(fact, template)
    if not rendered.prompt:
        raise DissectError("a plain text has no prompt to answer: use answers='gold', or give prompt and completion")
    return without_target(fact, encode(tokenizer, rendered.prompt).without_trailing(), rendered.prompt)


def without_target(fact: Fact, encoded: Encoded, prompt: str, begin: int = 0) -> PromptRow:
    """A prompt with nothing after it.

    Raises:
        DissectError: it becomes no token.
    """
    n = len(encoded.ids)
    if n == 0:
        raise DissectError(f"its prompt {prompt!r:.60} becomes no token: give a longer one")
    subject = subject_tokens(fact, encoded, prompt, end=n, begin=begin)
    return PromptRow(encoded.ids, n, n, subject, Rendered(prompt, None))


def without_answer(fact: Fact) -> str:
    """Describe a fact that has no answer: the keys that it has instead, and where it comes from."""
    seen = ", ".join(map(repr, fact.row()))
    where = f"; {fact.where}" if fact.where else ""
    return f"it has no answer (keys: {seen}{where}): add one, or ask for the model's own with answers='base'"


def check_span(target: str, start: int, stop: int) -> None:
    """Refuse an answer of which nothing can be scored.

    Raises:
        DissectError: no token is its own, or nothing stands before the first.
    """
    if start >= stop:
        raise DissectError(f"its answer {target!r:.60} becomes no token to score: give a longer one")
    if start == 0:
        raise DissectError("its answer starts at the first token, which nothing predicts: give a prompt before it")


def subject_tokens(fact: Fact, encoded: Encoded, text: str, *, end: int, begin: int = 0) -> list[int]:
    """The tokens of the fact's subject from character `begin` to position `end`; none where it names none."""
    subject = fact.extra.get("subject")
    return subject_positions(encoded, text, subject, end=end, begin=begin) if isinstance(subject, str) else []
