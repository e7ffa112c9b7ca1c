"""One-line warnings about what can go wrong between a tokenizer's chat template and the prompts that are made."""

import re
from collections.abc import Sequence
from typing import Any

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_settings import Chat
from dissect.data.chat.said_once import said_once
from dissect.errors import DissectError

_PROBE = "dissect-question"
"""Placeholder for the question while the end of the template's own prompt is looked up."""


def say_unused(tokenizer: Any) -> None:
    """Say that the tokenizer has a chat template, that questions are put without it, and how they can be put in it."""
    if getattr(tokenizer, "chat_template", None):
        said_once(
            tokenizer,
            "the tokenizer has a chat template and questions are put without it, as 'Question: ...\\nAnswer:': "
            "chat=True (--chat) asks as the model was trained, chat=False (--no-chat) keeps this",
        )


def say_dated(form: ChatFormat) -> None:
    """Say that a template writes today's date, so that the prompts of tomorrow are others."""
    if "strftime_now" in form.source and "date_string" not in form.chat.arguments:
        said_once(
            form.tokenizer,
            "the chat template may write today's date into every prompt: give date_string, such as '26 Jul 2024' "
            "(--chat-arg date_string='26 Jul 2024'), to be asked the same tomorrow",
        )


def say_unread(form: ChatFormat) -> None:
    """Say that the template does not read an argument that it was given: mostly a name with a slip in it."""
    for name in form.chat.arguments:
        if name != "chat_template" and not re.search(rf"\b{re.escape(name)}\b", form.source):
            said_once(form.tokenizer, "the chat template reads no argument %r: it changes nothing", name, about=name)


def say_bos(tokenizer: Any, rows: Sequence[Sequence[int]], *, chat: bool) -> None:
    """Say that rows begin with two BOS, or with none where the checkpoint's texts begin with one."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None or not rows:
        return
    name = tokenizer.bos_token
    twice = sum(list(ids[:2]) == [bos, bos] for ids in rows)
    if twice:
        said_once(
            tokenizer,
            "%d of %d prompts begin with two BOS (%s): the template writes one and the tokenizer puts another before "
            "it; take it out of the template",
            twice,
            len(rows),
            name,
        )
    missing = sum(ids[0] != bos for ids in rows if len(ids))
    if missing and (_adds_bos(tokenizer, bos) if chat else _writes_bos(tokenizer, name)):
        whose = "the tokenizer puts one before other texts" if chat else "the checkpoint's own chat template writes one"
        said_once(tokenizer, "%d of %d prompts begin without a BOS (%s), and %s", missing, len(rows), name, whose)


def say_line_break(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Say that a template written by hand ends otherwise than the checkpoint's own.

    Mostly it lost the last line break, or it ends the user's turn and leaves out what lets the assistant begin.
    """
    own = _own_end(tokenizer)
    if own is None:
        return
    last = own.rstrip().splitlines()[-1:]
    if not last:
        return
    blank = own[len(own.rstrip()) :]
    decoded = getattr(tokenizer, "added_tokens_decoder", {}).values()
    marks = [str(token) for token in decoded if str(token) in own]
    for prompt in prompts:
        bare = prompt.rstrip()
        if bare.endswith(last[0]) and prompt[len(bare) :] != blank:
            said_once(
                tokenizer,
                "the template ends with %r where the checkpoint's own chat template ends with %r: a shell may have "
                "dropped the last line break; chat=True (--chat) takes the checkpoint's own",
                (last[0] + prompt[len(bare) :])[-40:],
                (last[0] + blank)[-40:],
            )
            return
        if any(mark in prompt for mark in marks) and not bare.endswith(last[0]):
            said_once(
                tokenizer,
                "the template ends with %r where the checkpoint's own chat template ends with %r, which lets the "
                "assistant begin; chat=True (--chat) takes the checkpoint's own",
                prompt[-40:],
                (last[0] + blank)[-40:],
            )
            return


def _own_end(tokenizer: Any) -> str | None:
    """Return what the chat template writes after the question, generation prompt included; None without a template."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    try:
        prompt = ChatFormat(tokenizer, Chat()).asked(_PROBE)
    except DissectError:  # a template that wants arguments: nothing to compare with
        return None
    _, probe, after = prompt.rpartition(_PROBE)
    return after if probe else None


def _adds_bos(tokenizer: Any, bos: int) -> bool:
    return tokenizer("a", verbose=False)["input_ids"][:1] == [bos]


def _writes_bos(tokenizer: Any, name: str) -> bool:
    """Return True if the chat template begins with a BOS; a token that opens every turn (ChatML) is none."""
    if not getattr(tokenizer, "chat_template", None):
        return False
    try:
        prompt = ChatFormat(tokenizer, Chat()).asked(_PROBE)
    except DissectError:
        return False
    return prompt.startswith(name) and prompt.count(name) == 1
