"""Facts as turns of a chat, tokenised exactly as the checkpoint's own chat template has them."""

from dissect.data.chat.chat_format import ChatFormat, ending_ids
from dissect.data.chat.said_once import said_once
from dissect.data.fact import Fact
from dissect.data.prompt_row import PromptRow, check_span, subject_tokens, without_answer, without_target
from dissect.data.render import Rendered, filled
from dissect.data.tokenise import answer_start, answer_stop, encode
from dissect.errors import DissectError

BEGUN = "answer_begun"
"""The key of a fact that holds the beginning of its answer, where that is given and only the rest is scored."""


def chat_row(fact: Fact, form: ChatFormat, template: str) -> PromptRow:
    """The fact as a conversation with its answer.

    The ids are those of `apply_chat_template(tokenize=True)` for the whole conversation. The scored tokens follow the
    generation prompt: white space that the template itself writes before the answer is part of it. The row keeps what
    the template writes after the answer, of which the token that ends the turn is scored where that is asked for.

    Raises:
        DissectError: there is no answer, none that can be scored, or a template that refuses it.
    """
    question, answer = turn_of(fact, template)
    if answer is None:
        raise DissectError(without_answer(fact))
    turn = form.turn(question, answer)
    before, lead = turn.asked, turn.lead
    if lead.strip():
        said_once(
            form.tokenizer,
            "the chat template writes %r between its generation prompt and an answer: that is taken as given (an "
            "argument of the template may say otherwise, such as enable_thinking=false)",
            lead,
        )
        before, lead = before + lead, ""
    begun = _begun(fact, turn.answer)
    prompt, target = (before + lead + begun, turn.answer[len(begun) :]) if begun else (before, lead + turn.answer)
    text = prompt + target + turn.tail
    encoded = encode(form.tokenizer, text, specials=False)
    start = answer_start(encoded, len(prompt))
    stop = answer_stop(encoded, start, len(prompt) + len(target))
    check_span(target, start, stop)
    if form.chat.end_of_turn:
        ends = ending_ids(form.tokenizer)
        last = next((index for index in range(stop, len(encoded.ids)) if encoded.ids[index] in ends), None)
        if last is None:
            raise DissectError(
                f"the chat template ends a turn with {turn.tail!r} and no token of its own: leave end_of_turn out"
            )
        stop = last + 1
    subject = subject_tokens(fact, encoded, text, end=start, begin=_turn_begin(turn.asked, question))
    return PromptRow(encoded.ids, start, stop, subject, Rendered(prompt, target), turn.tail)


def chat_prompt(fact: Fact, form: ChatFormat, template: str) -> PromptRow:
    """The fact without an answer: the ids of `apply_chat_template(add_generation_prompt=True)`.

    Raises:
        DissectError: a plain text, or a template that refuses the question.
    """
    question, _ = turn_of(fact, template)
    prompt = form.asked(question)
    encoded = encode(form.tokenizer, prompt, specials=False)
    return without_target(fact, encoded, prompt, _turn_begin(prompt, question))


def turn_of(fact: Fact, template: str) -> tuple[str, str | None]:
    """Return the user's turn and the assistant's answer.

    A question stands in `template`; a prompt is the user's turn as it is, and its completion the answer without the
    white space that joined the two.

    Raises:
        DissectError: a plain text, which is no turn.
    """
    if fact.text is not None:
        raise DissectError("a plain text has no prompt to answer: use answers='gold', or give prompt and completion")
    if fact.prompt is not None:
        return fact.prompt.rstrip(), None if fact.completion is None else fact.completion.lstrip()
    return filled(fact, template), fact.answer


def _turn_begin(prompt: str, question: str) -> int:
    """Where the question stands: its subject may be named in the system prompt or in an earlier turn as well."""
    return max(prompt.rfind(question.strip()), 0)


def _begun(fact: Fact, answer: str) -> str:
    begun = fact.extra.get(BEGUN)
    return begun if isinstance(begun, str) and answer.startswith(begun) and begun != answer else ""
