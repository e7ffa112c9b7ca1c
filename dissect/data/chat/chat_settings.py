"""How facts are put to a chat model: the settings of the checkpoint's own chat template, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError

QUESTION = "{question}"
"""The user's turn, where no other template is asked for."""
_RESERVED = {
    *("conversation", "messages", "tokenize", "add_generation_prompt", "continue_final_message", "padding"),
    *("truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
    "sanitize_control_tokens",
}
"""Arguments of `apply_chat_template` that decide the form of its result, which is not the user's to choose here."""


@dataclass(frozen=True)
class Chat:
    """Settings of a chat format; the template itself is the tokenizer's."""

    system: str | None = None
    """The system prompt; None sends no system message, and the template may then write one of its own."""
    shots: tuple[tuple[str, str], ...] = ()
    """Questions and answers of earlier turns, before the one that is asked."""
    end_of_turn: bool = False
    """True if the token that ends the assistant's turn is scored after the answer, as open-unlearning does."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the template, such as `date_string` or `enable_thinking`."""

    def messages(self, question: str, answer: str | None = None) -> list[dict[str, str]]:
        """The conversation up to the question, or up to its answer."""
        said = [] if self.system is None else [{"role": "system", "content": self.system}]
        for user, assistant in (*self.shots, (question, answer)):
            said.append({"role": "user", "content": user})
            if assistant is not None:
                said.append({"role": "assistant", "content": assistant})
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return what `as_chat` takes back: a JSON-serialisable dict of everything that is not a default."""
        settings: dict[str, Any] = {} if self.system is None else {"system": self.system}
        if self.shots:
            settings["shots"] = [list(shot) for shot in self.shots]
        if self.end_of_turn:
            settings["end_of_turn"] = True
        return settings | dict(self.arguments)


ChatChoice = Chat | Mapping[str, Any] | bool | None
"""The settings, or True for the template's defaults. None is no choice; False chooses to ask without the template."""


def as_chat(value: ChatChoice) -> Chat | None:
    """Check settings of a chat format.

    Args:
        value: True; a mapping with `system`, `shots` (pairs of question and answer), `end_of_turn` and any argument of
            the template; None or False for no chat format.

    Returns:
        The settings, or None where no chat format is asked for.

    Raises:
        DissectError: another type, or a value that does not fit its name.
    """
    if value is None or value is False:
        return None
    if isinstance(value, Chat):
        return value
    if value is True:
        return Chat()
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DissectError(f"chat must be True or a mapping such as {{'system': '...'}}, got {value!r:.60}")
    arguments = dict(value)
    system, end = arguments.pop("system", None), arguments.pop("end_of_turn", False)
    if not isinstance(system, (str, type(None))):
        raise DissectError(f"chat: the system prompt must be text, got {system!r:.60}: put it in quotes")
    if not isinstance(end, bool):
        raise DissectError(f"chat: end_of_turn must be true or false, got {end!r:.60}")
    if reserved := sorted(_RESERVED & set(arguments)):
        raise DissectError(f"chat: {reserved[0]!r} is decided by dissect: leave it out")
    return Chat(system, _shots(arguments.pop("shots", ())), end, arguments)


def chat_as_data(value: ChatChoice) -> dict[str, Any] | Literal[False] | None:
    """A choice as JSON can keep it: the settings, False where the template was declined, None where nothing was chosen.

    Raises:
        DissectError: as ``as_chat``.
    """
    chat = as_chat(value)
    return chat.to_dict() if chat is not None else False if value is False else None


def user_template(template: str, chat: ChatChoice) -> str:
    """The template of a question: in a chat the question alone is the user's turn, unless another was asked for."""
    return QUESTION if as_chat(chat) is not None and template == DEFAULT_TEMPLATE else template


def _shots(value: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of question and answer, given as pairs, as rows of a fact file or as facts."""
    shots: list[tuple[str, str]] = []
    for shot in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
        if isinstance(shot, Mapping):
            pair: tuple[Any, ...] = (shot.get("question"), shot.get("answer"))
        elif hasattr(shot, "question"):
            pair = (shot.question, shot.answer)
        else:
            pair = tuple(shot) if isinstance(shot, Sequence) and not isinstance(shot, str) else (shot,)
        if len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
            raise DissectError(f"chat: a shot is a question and its answer, got {shot!r:.60}: give a list of pairs")
        shots.append((pair[0], pair[1]))
    return tuple(shots)
