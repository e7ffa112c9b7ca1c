"""Options of every command that asks questions: the chat format in which they are put."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.chat.chat_settings import ChatChoice

_WORDS = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Options that put questions in the checkpoint's own chat template, and the arguments of the template."""

    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Ask in the checkpoint's own chat template, as instruct models expect.",
            show_default=False,
        ),
    ] = None
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt of the chat; implies --chat.")] = (
        None
    )
    chat_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Argument of the chat template, e.g. date_string='26 Jul 2024', enable_thinking=false or "
            "shots=[[question, answer]]; implies --chat. May be repeated.",
        ),
    ] = None
    end_of_turn: Annotated[
        bool, typer.Option("--end-of-turn", help="Also score the token that ends the answer's turn; implies --chat.")
    ] = False

    def chat_choice(self) -> "ChatChoice":
        """Return the options in the form that `chat` of `Facts.prompts` takes.

        Raises:
            DissectError: an argument that is no NAME=VALUE, or settings of a chat beside --no-chat.
        """
        from dissect.data.chat.chat_settings import as_chat

        settings = _arguments(self.chat_arg or ())
        if self.system is not None:
            settings["system"] = self.system
        if self.end_of_turn:
            settings["end_of_turn"] = True
        if self.chat is False and settings:
            raise DissectError(f"--no-chat leaves the chat template out, and {', '.join(settings)} is given for it")
        return as_chat(settings) if settings else self.chat


def _arguments(texts: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise DissectError(f"--chat-arg {text!r}: write it as name=value, such as enable_thinking=false")
        arguments[name.strip()] = _value(value)
    return arguments


def _value(text: str) -> Any:
    """JSON where it is (lists, numbers, true and false in any case), else the text itself: dates stay text."""
    bare = text.strip()
    if bare.lower() in _WORDS:
        return _WORDS[bare.lower()]
    try:
        return json.loads(bare)
    except ValueError:
        return text
