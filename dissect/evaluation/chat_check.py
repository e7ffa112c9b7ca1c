"""A check of a checkpoint's chat template: are the ids of prompts in it those of transformers?"""

from collections.abc import Sequence
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_rows import chat_prompt, chat_row
from dissect.data.chat.chat_settings import QUESTION, Chat
from dissect.data.fact import Fact
from dissect.errors import DissectError

_ANSWER = "Nobody knows."
_SHOTS = (("What is two and two?", "Four."),)


def chat_ids(model: HookedTransformer, questions: Sequence[str]) -> tuple[bool | None, str]:
    """Compare the ids of questions, alone and after an earlier turn, with ``apply_chat_template``, to the last token.

    Returns:
        whether all are equal, with a line on it; None without a chat template, or where it wants more than a question.
    """
    tokenizer = model.tokenizer
    if getattr(tokenizer, "chat_template", None) is None:
        return None, "the checkpoint has no chat template"
    compared = 0
    for chat in (Chat(), Chat(shots=_SHOTS)):
        form = ChatFormat(tokenizer, chat)
        for question in questions:
            fact = Fact(question=question, answer=_ANSWER)
            messages = chat.messages(question)
            try:
                asked, row = chat_prompt(fact, form, QUESTION).ids, chat_row(fact, form, QUESTION)
            except DissectError as error:
                return None, str(error)
            pairs = [(asked, _applied(tokenizer, messages, add_generation_prompt=True))]
            turn = form.turn(question, _ANSWER)
            answered = chat.messages(question, _ANSWER)
            whole = turn.asked + turn.lead + turn.answer + turn.tail
            if whole == tokenizer.apply_chat_template(answered, tokenize=False):  # else the answer follows the prompt
                pairs.append((row.ids, _applied(tokenizer, answered, add_generation_prompt=False)))
            for ours, theirs in pairs:
                if list(ours) != theirs:
                    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
                    return False, f"token {at + 1} of {question!r:.40} differs"
                compared += len(theirs)
    return True, f"{compared} tokens of {len(questions)} questions, alone and after an earlier turn"


def _applied(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
    ids = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=add_generation_prompt, return_dict=False
    )
    return [int(token) for token in ids]
