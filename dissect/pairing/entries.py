"""Facts as they enter the test: with a subject and a group, or left out with a reason."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dissect.data.fact import Fact
from dissect.data.variants import restated
from dissect.pairing.block import AS_ASKED, HELD_OUT, PARAPHRASES, Kind, Question
from dissect.pairing.fact_labels import SUBJECT, label, names, with_subject

GROUP_KEYS = ("group", "attribute", "relation")
"""The keys of ``extra`` that say which facts are of one kind; the first that a fact has counts."""
SWAPPED, GIVEN = "other subjects", "given foils"
"""Names of what is no group: questions asked about other subjects; answers beside ``extra["perturbed"]``."""


@dataclass(frozen=True)
class Entry:
    """One fact to be tested."""

    number: int
    """Among the forget facts."""
    fact: Fact
    subject: str
    """``extra["subject"]``; the question itself where there is none."""
    named: bool
    """True where the fact has a subject of its own."""
    group: str
    kind: Kind
    foils: tuple[str, ...] = ()
    """Wrong answers that came with the fact, for ``given foils``."""

    @property
    def answer(self) -> str:
        """The answer, with `SUBJECT` wherever it names its subject."""
        text = str(self.fact.target).strip()
        return with_subject(text, self.subject, SUBJECT) if self.named else text

    @property
    def label(self) -> str:
        """The form by which the answer is compared."""
        return label(self.answer)

    def text(self, answer: str) -> str:
        """An answer (of `Entry.answer`) as one to this fact's question."""
        return answer.replace(SUBJECT, self.subject)

    def about(self, subject: str) -> "Entry":
        """The fact about another subject, in all its wordings."""

        def changed(value: Any) -> Any:
            if isinstance(value, str):
                return with_subject(value, self.subject, subject)
            return [changed(each) for each in value] if isinstance(value, (list, tuple)) else value

        row = {key: changed(value) for key, value in self.fact.row().items()}
        fields = {key: row.pop(key) for key in ("question", "answer", "prompt", "completion") if key in row}
        return replace(self, fact=Fact(**fields, extra=row), subject=subject)

    def questions(self, template: str) -> dict[str, tuple[Question, ...]]:
        """The ways to ask, by wording, without the answer or anything else that holds it."""
        ways = {AS_ASKED: [self.fact]}
        for key in (PARAPHRASES, HELD_OUT):
            ways[key] = list(restated([self.fact], key))
        return {key: tuple(_without_answer(fact, template) for fact in facts) for key, facts in ways.items() if facts}


def entries_of(facts: Sequence[Fact], subject_key: str) -> tuple[list[Entry], list[str]]:
    """The facts that can be tested, and for those that cannot one sentence a reason.

    Facts of a group (`GROUP_KEYS`) with at least two subjects are compared with each other's answers. All others are
    asked about other subjects, where the subject stands in the question, or compared with ``extra["perturbed"]``.
    """
    notes: list[str] = []
    usable = [(i, fact) for i, fact in enumerate(facts) if fact.kind != "text" and fact.target]
    _note(notes, len(facts) - len(usable), "has no question with an answer", "have no question with an answer")
    subjects = {i: str(fact.extra.get(subject_key) or getattr(fact, fact.kind)) for i, fact in usable}
    seen: set[tuple[str, ...]] = set()
    single = []
    for i, fact in usable:
        mark = (subjects[i], str(getattr(fact, fact.kind)), label(str(fact.target)))
        if mark not in seen:
            single.append((i, fact))
        seen.add(mark)
    _note(notes, len(usable) - len(single), "repeats another and counts once", "repeat others and count once")

    groups = {i: _group(fact) for i, fact in single}
    members: dict[str, set[str]] = {}
    for i, group in groups.items():
        if group is not None:
            members.setdefault(group, set()).add(subjects[i])
    swappable = {
        i: fact.extra.get(subject_key) is not None and names(str(getattr(fact, fact.kind)), subjects[i])
        for i, fact in single
    }
    loose = [i for i, _ in single if len(members.get(groups[i] or "", ())) < 2]
    several = len({subjects[i] for i in loose if swappable[i]}) > 1
    entries, alone = [], 0
    for i, fact in single:
        common = (i, fact, subjects[i], fact.extra.get(subject_key) is not None)
        foils = _foils(fact)
        if i not in loose:
            entries.append(Entry(*common, str(groups[i]), "answers"))
        elif swappable[i] and several:
            entries.append(Entry(*common, SWAPPED, "subjects"))
        elif foils:
            entries.append(Entry(*common, GIVEN, "foils", foils))
        else:
            alone += 1
    reason = "alone in its group, without a subject to swap or foils ('perturbed')"
    _note(notes, alone, f"stands {reason}", f"stand {reason}")
    return entries, notes


def _group(fact: Fact) -> str | None:
    return next((str(fact.extra[key]) for key in GROUP_KEYS if fact.extra.get(key) is not None), None)


def _foils(fact: Fact) -> tuple[str, ...]:
    value = fact.extra.get("perturbed", ())
    texts = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _without_answer(fact: Fact, template: str) -> Question:
    """The question alone; of ``extra`` only what the template uses."""
    fields = {name for _, name, _, _ in string.Formatter().parse(template) if name} | {"subject"}
    extra: Mapping[str, Any] = {key: value for key, value in fact.extra.items() if key in fields}
    if fact.question is not None:
        return Question(Fact(question=fact.question, extra=extra))
    completion = str(fact.completion)
    return Question(Fact(prompt=fact.prompt, extra=extra), completion[: len(completion) - len(completion.lstrip())])


def _note(notes: list[str], count: int, one: str, many: str) -> None:
    if count:
        notes.append(f"{count} fact {one}." if count == 1 else f"{count} facts {many}.")
