"""Asking in other words: a fact that is only blocked in one wording comes back in another.

A statement that is cut before its answer was written around it, and its words may go with the answer ("trained as an"
is no baker), so a model that never knew could be right by grammar. Of the statements in a group, those count that are
worded alike for several subjects, and unlike another by more than the word before the answer. What is a question, or a
prompt beside a prompt, is taken as it is: whoever wrote it wrote it without an answer after it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.pairing.block import HELD_OUT, PARAPHRASES, Ask, Question, Sheet
from dissect.pairing.fact_labels import SUBJECT


def in_wording(target: Target, *, wording: str) -> Scores:
    """log p(answer | question in this wording), the mean over a fact's wordings of that kind."""
    groups: dict[str, list[Sheet]] = defaultdict(list)
    for sheet in target.sheets:
        groups[sheet.group].append(sheet)
    telling = {name: _telling(sheets, wording) for name, sheets in groups.items()}
    sheets, left_out = [], 0
    for sheet in target.sheets:
        asks = []
        for ask in sheet.asks:
            questions = ask.asked(wording)
            kept = tuple(
                each for each in questions if not _cut(ask, each) or _words(each, sheet) not in telling[sheet.group]
            )
            left_out += len(questions) - len(kept)
            asks.append(replace(ask, questions={**ask.questions, wording: kept}))
        sheets.append(replace(sheet, asks=tuple(asks)))
    if not left_out:
        return target.score(wording=wording)
    target.notes.append(f"{left_out} statements were left out: their words may go with the answer.")
    if not any(ask.asked(wording) for sheet in sheets for ask in sheet.asks):
        raise NotPossible(f"every statement in {wording!r} is worded as no other, so its words may go with the answer")
    return replace(target, sheets=tuple(sheets), memo={}).score(wording=wording)


def _telling(sheets: Iterable[Sheet], wording: str) -> set[str]:
    """Words of statements, subject taken out, that may go with the answer."""
    rows: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for number, sheet in enumerate(sheets):
        for ask in sheet.asks if sheet.kind != "subjects" else ():  # there all that is compared is worded alike
            for question in ask.asked(wording):
                if _cut(ask, question):
                    rows[_words(question, sheet)].add((number, ask.row))
    starts = Counter(words.rpartition(" ")[0] for words in rows)
    return {words for words, own in rows.items() if len(own) < 2 or starts[words.rpartition(" ")[0]] > 1}


def _cut(ask: Ask, question: Question) -> bool:
    """Return True for a statement cut before the answer: a prompt, where the fact itself is a question."""
    return question.fact.question is None and any(own.fact.question is not None for own in ask.asked())


def _words(question: Question, sheet: Sheet) -> str:
    """The statement with `SUBJECT` for whoever of the sheet it names."""
    names = sorted(map(re.escape, sheet.subjects), key=len, reverse=True)
    return re.sub(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", SUBJECT, str(question.fact.prompt))


ATTACKS = (
    Attack(
        name="other_wordings",
        label="other wordings",
        family="asking",
        seen="Paraphrases of the questions, which training for unlearning may have seen.",
        run=partial(in_wording, wording=PARAPHRASES),
    ),
    Attack(
        name="held_out_wordings",
        label="wordings never trained on",
        family="asking",
        seen="Paraphrases of the questions that no training saw.",
        run=partial(in_wording, wording=HELD_OUT),
    ),
)
