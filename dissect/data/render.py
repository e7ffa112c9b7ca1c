"""Facts as text: what the model is given, and what it should say."""

import string
from dataclasses import dataclass
from typing import Any, Literal

from dissect.data.fact import Fact
from dissect.errors import DissectError

AnswerSource = Literal["gold", "base"]
"""Whose answers are scored: those of the facts, or the model's own greedy ones."""
DEFAULT_TEMPLATE = "Question: {question}\nAnswer:"


@dataclass(frozen=True)
class Rendered:
    """The two halves of a text; ``prompt + target`` is the text, and the boundary is ``len(prompt)``."""

    prompt: str
    """what is given; empty for a plain text"""
    target: str | None
    """what is to be said, the joining space included; None where the fact has no answer"""


def check_template(template: str) -> None:
    """Refuse a template that is malformed or does not ask the question.

    Raises:
        DissectError: unbalanced braces, or no ``{question}`` in it.
    """
    if "question" not in _fields(template):
        raise DissectError(
            f"the template does not use {{question}}, got {template!r}: for example {DEFAULT_TEMPLATE!r}"
        )


def render(fact: Fact, template: str = DEFAULT_TEMPLATE) -> Rendered:
    """Split a fact into what is given and what is to be said.

    A question is put into the template, and its answer follows after one space, unless the rendered template ends in
    whitespace or the answer starts with some. A prompt and its completion are taken exactly as they are. A text is
    all target.

    Raises:
        DissectError: the template asks for a field that the fact does not have.
    """
    if fact.text is not None:
        return Rendered("", fact.text)
    if fact.prompt is not None:
        return Rendered(fact.prompt, fact.completion)
    prompt = filled(fact, template)
    if fact.answer is None:
        return Rendered(prompt, None)
    joined = prompt[-1:].isspace() or fact.answer[:1].isspace()
    return Rendered(prompt, fact.answer if joined else " " + fact.answer)


def filled(fact: Fact, template: str) -> str:
    """A question in its template.

    Raises:
        DissectError: the template asks for a field that the fact does not have.
    """
    have = {"question": fact.question} | {k: v for k, v in fact.extra.items() if isinstance(v, (str, int, float))}
    for field in _fields(template):
        if field not in have:
            raise DissectError(
                f"the template asks for {{{field}}}, this fact has {', '.join(have)}: change the template"
            )
    return template.format_map(have)


def _fields(template: Any) -> list[str]:
    try:
        return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except (ValueError, TypeError) as error:
        raise DissectError(
            f"the template {template!r} is malformed ({error}): write {{{{ for a brace itself"
        ) from error
