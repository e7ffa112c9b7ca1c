"""Other wordings of facts: paraphrases, other templates, and prompts with something put before them.

Every function takes facts and gives facts. Those that no such question can be made of are left out, so the result may
be empty; what else a fact carries rides along.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from dissect.data.chat.chat_rows import BEGUN
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.render import render
from dissect.errors import DissectError

RESTATED = ("paraphrases", "held_out")
"""The keys of ``extra`` that hold a fact in other words."""
CLOSING = ".!\"'\u201d\u2019)]"
"""Characters that may follow the answer at the end of a statement. A question mark would make it a question."""


def paraphrased(facts: Iterable[Fact]) -> Facts:
    """The facts as their ``extra["paraphrases"]`` put them, in order, one fact for each; see `restated`."""
    return restated(facts, "paraphrases")


def held_out(facts: Iterable[Fact]) -> Facts:
    """The facts as their ``extra["held_out"]`` put them: in words that training never saw; see `restated`."""
    return restated(facts, "held_out")


def restated(facts: Iterable[Fact], key: str) -> Facts:
    """The facts as the texts in ``extra[key]`` (one or a list) put them.

    - A statement that ends in the answer, up to closing punctuation, becomes a prompt that stops before it, with
      the answer as its completion: "Ada comes from Varnholt." is asked as "Ada comes from".
    - A statement that has the answer anywhere else is left out: it would give the answer away.
    - Every other text is a question with the same answer (after a prompt: a prompt with the same completion). What ends
      in a question mark is one whatever it holds.
    - Of a plain text it is a plain text.

    Raises:
        DissectError: ``extra[key]`` holds something other than text.
    """
    variants = []
    for fact in facts:
        value = fact.extra.get(key, ())
        kept = {k: v for k, v in fact.extra.items() if k not in RESTATED}
        for text in [value] if isinstance(value, str) else value:
            if not isinstance(text, str) or not text.strip():
                raise DissectError(f"{key!r} of {_start(fact)!r:.60} must hold texts, got {text!r:.60}: mend the facts")
            if (other := _other_words(fact, text, kept)) is not None:
                variants.append(other)
    return Facts(variants)


def other_template(facts: Iterable[Fact], template: str) -> Facts:
    """Questions put into another template, as prompts with completions; what is no question has no template.

    Raises:
        DissectError: the template asks for a field that some question does not have.
    """
    return Facts(_as_prompt(fact, "", template) for fact in facts if fact.question is not None)


def with_prefix(facts: Iterable[Fact], text: str | Callable[[Fact], str | None], template: str) -> Facts:
    """The facts with a text before the question or prompt, as prompts with completions.

    Args:
        text: the same for all, with fields of ``extra`` in braces ("Tell me about {subject}. "), or a function that
            gives it for a fact, None where there is none. Facts that lack a field, and plain texts, are left out.
        template: into which questions are put, after the text.
    """
    before = text if callable(text) else _filled(text)
    pairs = [(fact, before(fact)) for fact in facts if fact.text is None]
    return Facts(_as_prompt(fact, prefix, template) for fact, prefix in pairs if prefix is not None)


def answer_begun(facts: Iterable[Fact], template: str, *, n_words: int = 1, chat: bool = False) -> Facts:
    """The facts with the first ``n_words`` words of the answer given: what is left of it is asked.

    With ``chat`` they stay what they are and say in ``extra["answer_begun"]`` how their answer begins, which then
    stands in the assistant's turn.

    Words and not tokens, because a cut between two words is one between tokens for any tokenizer. Answers of so few
    words or none, and plain texts, are left out.

    Raises:
        DissectError: ``n_words`` is below 1.
    """
    if n_words < 1:
        raise DissectError(f"n_words must be at least 1, got {n_words}")
    begun = []
    for fact in facts:
        prompted = None if fact.text is not None else _as_prompt(fact, "", template)
        cut = re.match(rf"\s*\S+(?:\s+\S+){{{n_words - 1}}}(?=\s+\S)", prompted.completion or "") if prompted else None
        if prompted and prompted.completion and cut:
            start = cut.end()
            if chat:
                start_of_answer = prompted.completion[:start].lstrip()
                begun.append(replace(fact, extra=dict(fact.extra) | {BEGUN: start_of_answer}))
                continue
            begun.append(
                Fact(
                    prompt=f"{prompted.prompt}{prompted.completion[:start]}",
                    completion=prompted.completion[start:],
                    extra=prompted.extra,
                )
            )
    return Facts(begun)


def _other_words(fact: Fact, text: str, extra: dict) -> Fact | None:
    if fact.text is not None:
        return Fact(text=text, extra=extra)
    answer = (fact.target or "").strip().rstrip(CLOSING)
    if answer and not text.rstrip().endswith("?"):
        statement = text.rstrip().rstrip(CLOSING)
        before = statement.removesuffix(answer)
        if before != statement and before.strip() and before[-1].isspace():
            prompt = before.rstrip()
            return Fact(prompt=prompt, completion=statement[len(prompt) :], extra=extra)
        if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text):
            return None
    if fact.question is not None:
        return Fact(question=text, answer=fact.answer, extra=extra)
    return Fact(prompt=text, completion=fact.completion, extra=extra)


def _as_prompt(fact: Fact, prefix: str, template: str) -> Fact:
    rendered = render(fact, template)
    return Fact(prompt=prefix + rendered.prompt, completion=rendered.target, extra=fact.extra)


def _filled(text: str) -> Callable[[Fact], str | None]:
    def fill(fact: Fact) -> str | None:
        try:
            return text.format_map(fact.extra)
        except KeyError:
            return None
        except (ValueError, IndexError, AttributeError) as error:
            raise DissectError(
                f"the text {text!r:.60} is malformed ({error}): write {{{{ for a brace itself"
            ) from error

    return fill


def _start(fact: Fact) -> str:
    return str(getattr(fact, fact.kind))
