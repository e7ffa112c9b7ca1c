"""Blocks of comparisons: questions with candidate answers, and, kept apart from them, which belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from dissect.data.fact import Fact
from dissect.data.render import render
from dissect.errors import DissectError

Kind = Literal["answers", "subjects", "foils"]
"""Crossed with the questions: the answers of a group, the subjects within a question, or a fact's given foils."""
AS_ASKED, PARAPHRASES, HELD_OUT = "as asked", "paraphrases", "held_out"
WORDINGS = (AS_ASKED, PARAPHRASES, HELD_OUT)
"""The fact's own question; ``extra["paraphrases"]``; ``extra["held_out"]``, wordings that training never saw."""


@dataclass(frozen=True)
class Question:
    """One way to ask, without an answer."""

    fact: Fact
    """A question or a prompt; ``extra`` holds its subject and what templates may use, and nothing of the answer."""
    joint: str = ""
    """The text between a prompt and its completion, e.g. one space; a question has its template for that."""

    def answered(self, text: str) -> Fact:
        """The fact that has ``text`` for its answer."""
        if self.fact.question is not None:
            return Fact(question=self.fact.question, answer=text, extra=self.fact.extra)
        return Fact(prompt=self.fact.prompt, completion=self.joint + text.lstrip(), extra=self.fact.extra)

    def after(self, text: str, template: str) -> "Question":
        """The rendered question with ``text`` put before it, as a prompt; e.g. other facts as examples."""
        rendered = render(self.fact, template)
        joint = self.joint
        if self.fact.question is not None:
            joint = "" if rendered.prompt[-1:].isspace() else " "
        return Question(Fact(prompt=text + rendered.prompt, extra=self.fact.extra), joint)


@dataclass(frozen=True)
class Ask:
    """One cell or several of a row of a score matrix: a question and the answers that it is scored against."""

    row: int
    columns: tuple[int, ...]
    answers: tuple[str, ...]
    """One text a column, in the order of the columns, which says nothing of which is right."""
    questions: Mapping[str, tuple[Question, ...]]
    """By wording; empty where the fact has none of that kind."""

    def asked(self, wording: str = AS_ASKED) -> tuple[Question, ...]:
        """The question in a wording.

        Raises:
            DissectError: there is no such wording.
        """
        if wording not in WORDINGS:
            raise DissectError(f"no wording {wording!r}: choose from {', '.join(WORDINGS)}")
        return self.questions.get(wording, ())


@dataclass(frozen=True)
class Sheet:
    """The part of a block that an attack gets: all that is asked, and not which answer belongs to which question."""

    group: str
    kind: Kind
    fold: int
    """The fold in which these facts are held out; no training for it may use facts of this fold."""
    shape: tuple[int, int]
    """Rows (questions) and columns (answers, or subjects) of the score matrix."""
    asks: tuple[Ask, ...]
    subjects: frozenset[str]
    """The subjects that are tested here."""

    @property
    def expected(self) -> Bool[np.ndarray, "row column"]:
        """True on the cells that are asked for; the others of a score matrix are NaN."""
        cells = np.zeros(self.shape, dtype=bool)
        for ask in self.asks:
            cells[ask.row, list(ask.columns)] = True
        return cells


@dataclass(frozen=True)
class Block:
    """A sheet with its key.

    A *slot* is a way in which a row can be paired: with the answer of slot s, against the foils of slot s. Re-dealing
    gives the rows other slots; which they may be is `Dealing`'s to say.
    """

    sheet: Sheet
    facts: Int[np.ndarray, " row"]
    """The number of each row's fact among the forget facts."""
    subjects: Int[np.ndarray, " row"]
    """The number of each row's subject."""
    slot: Int[np.ndarray, " row"]
    """The slot in which each row truly is."""
    own: Int[np.ndarray, " slot"]
    """The column of a slot's answer."""
    foils: Bool[np.ndarray, "slot column"]
    """The columns that are wrong answers beside it: neither equal to it nor a beginning of it, nor it of them."""
    slots_of: Mapping[int, tuple[int, ...]] = field(repr=False, default_factory=dict)
    """By subject, the slots that its rows hold, in the rows' order."""
