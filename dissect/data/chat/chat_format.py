"""The checkpoint's own chat template: a conversation as text, with the place of the answer in it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dissect.data.chat.chat_settings import Chat
from dissect.data.chat.said_once import said_once
from dissect.errors import DissectError

_MARK = "dissect-answer"
"""Placeholder for the answer while its place is looked up."""


@dataclass(frozen=True)
class Turn:
    """An answered conversation as text: `asked + lead + answer + tail`."""

    asked: str
    """The conversation up to and including the generation prompt."""
    lead: str
    """Text that the template writes between the generation prompt and the answer: mostly none, or a space."""
    answer: str
    """The answer as the template writes it, mostly without white space around it."""
    tail: str
    """Text that the template writes after the answer: the end of the turn."""


class ChatFormat:
    """A tokenizer's chat template with its settings.

    Raises:
        DissectError: the tokenizer has no chat template, or none of the name that is asked for.
    """

    def __init__(self, tokenizer: Any, chat: Chat) -> None:
        self.tokenizer, self.chat = tokenizer, chat
        if not getattr(tokenizer, "chat_template", None) and "chat_template" not in chat.arguments:
            raise DissectError(
                "the tokenizer has no chat template: put chat_template.jinja beside its files, or ask without chat"
            )

    @cached_property
    def source(self) -> str:
        """The template itself (Jinja)."""
        try:
            named = self.chat.arguments.get("chat_template")
            return str(self.tokenizer.get_chat_template(named, self.chat.arguments.get("tools")))
        except ValueError as error:
            raise DissectError(f"no chat template can be chosen ({_line(error)}): give chat_template=NAME") from error

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the template's SHA-256."""
        return hashlib.sha256(self.source.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def asked(self, question: str) -> str:
        """The conversation up to the generation prompt, as `apply_chat_template(add_generation_prompt=True)`.

        Raises:
            DissectError: the template refuses the conversation, or leaves the question out.
        """
        return self._render(question, None)

    def turn(self, question: str, answer: str) -> Turn:
        """The conversation with its answer, as the template itself writes it.

        Raises:
            DissectError: the template refuses the conversation, or changes the answer.
        """
        prompt, marked = self._render(question, None), self._render(question, _MARK)
        before, mark, tail = marked.rpartition(_MARK)
        if not mark:
            raise DissectError("the chat template leaves the answer out: is it a template for conversations?")
        whole = self._render(question, answer)
        written = next(
            (
                text
                for text in (answer, answer.strip(), answer.lstrip(), answer.rstrip())
                if before + text + tail == whole
            ),
            None,
        )
        if written is None:
            raise DissectError(
                f"the chat template does not write the answer {answer!r:.60} as it is: change the answer"
            )
        if before.startswith(prompt):
            return Turn(prompt, before[len(prompt) :], written, tail)
        said_once(
            self.tokenizer,
            "the chat template writes an answered turn in another way (%r) than its generation prompt ends (%r): "
            "answers follow the generation prompt",
            before[-40:],
            prompt[-40:],
        )
        return Turn(prompt, "", written, tail)

    @cached_property
    def end_of_turn(self) -> int | None:
        """The id of the token that ends the assistant's turn; None where the template ends it in ordinary text."""
        tail = self.turn("?", _MARK + ".").tail
        ends = ending_ids(self.tokenizer)
        ids = self.tokenizer(tail, add_special_tokens=False, verbose=False)["input_ids"]
        return next((int(token) for token in ids if int(token) in ends), None)

    def _render(self, question: str, answer: str | None) -> str:
        messages = self.chat.messages(question, answer)
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=answer is None, **self.chat.arguments
                )
            )
        except Exception as error:  # Jinja's own errors, and whatever the template's Python expressions raise
            way = "leave the system prompt out" if self.chat.system is not None else "check the arguments of the chat"
            raise DissectError(f"the chat template refuses this conversation ({_line(error)}): {way}") from error


def ending_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that can end a turn: tokens that the tokenizer treats as one wherever they are written."""
    ids = {int(token) for token in getattr(tokenizer, "added_tokens_decoder", {})}
    ids |= {int(token) for token in getattr(tokenizer, "all_special_ids", ())}
    return frozenset(ids)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
