"""Multiple-choice questions: facts whose `choices` and right answer are checked, as MMLU and WMDP publish them."""

from collections.abc import Iterable
from dataclasses import replace

from dissect.data.fact import Fact
from dissect.data.published_names import choice_texts
from dissect.errors import DissectError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choice_facts(facts: Iterable[Fact], *, where: str, topic: str | None = None) -> list[Fact]:
    """Check that every fact is a question with its choices, and that the right one is among them.

    `choices` become a list of texts and `answer_index` the number of the right one (from 0). A row's `subject`, which
    in MMLU is a field of knowledge and nobody's name, moves to `topic`; so do facts about one field not count as one.

    Args:
        where: the file, for errors about facts that do not say where they were read.
        topic: what the questions are about, for rows that do not say.

    Raises:
        DissectError: no question, choices missing or fewer than two, an answer that is none of them, or no fact at all;
            with file and line.
    """
    checked = [_checked(fact, fact.where or f"{where}, row {number}", topic) for number, fact in enumerate(facts, 1)]
    if not checked:
        raise DissectError(f"{where} holds no questions (0 rows): give at least one")
    return checked


def choices_of(fact: Fact) -> list[str]:
    """The texts of a fact's choices, in order; none where it has none.

    Raises:
        DissectError: choices that are no texts.
    """
    value = fact.extra.get("choices")
    return [] if value is None else choice_texts(value)


def _checked(fact: Fact, where: str, topic: str | None) -> Fact:
    if fact.question is None:
        raise DissectError(f"{where}: a multiple-choice item needs a 'question', got a {fact.kind}: give one")
    try:
        texts = choices_of(fact)
    except DissectError as error:
        raise DissectError(f"{where}: {error}") from error
    if len(texts) < 2 or not all(text.strip() for text in texts):
        raise DissectError(
            f"{where}: a multiple-choice question needs at least two 'choices' with text, got {texts or 'none'}: give "
            "one text a choice"
        )
    if len(texts) > len(LETTERS):
        raise DissectError(f"{where}: {len(texts)} choices are more than there are letters ({len(LETTERS)}): drop some")
    index = fact.extra.get("answer_index")
    if index is None:
        seen = "no answer" if fact.answer is None else f"the answer {fact.answer!r:.60}"
        raise DissectError(
            f"{where}: expected one of the {len(texts)} choices as the answer, got {seen}: give a number from 0 to "
            f"{len(texts) - 1}, a letter from A to {LETTERS[len(texts) - 1]} or the choice's text"
        )
    extra = dict(fact.extra) | {"choices": texts, "answer_index": int(index)}
    named = extra.pop("subject", None)
    if named := named or topic:
        extra.setdefault("topic", str(named).replace("_", " "))
    return replace(fact, extra=extra)
