"""One fact in one of its three forms: a question with its answer, a prompt with its completion, or a plain text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dissect.data.published_names import known_names
from dissect.errors import DissectError

FactKind = Literal["question", "prompt", "text"]
PARTNER: dict[str, str | None] = {"question": "answer", "prompt": "completion", "text": None}
"""The key that holds what is to be recalled, for each kind; a text is recalled whole."""
FACT_KEYS = ("question", "answer", "prompt", "completion", "text")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing a model may know, as given; nothing is stripped or joined here.

    Exactly one of ``question``, ``prompt`` and ``text`` is set. ``answer`` and ``completion`` may be missing where the
    model's own answers are to be used.

    Raises:
        DissectError: none or several of the three are set, a value is not text, or it is empty.
    """

    question: str | None = None
    answer: str | None = None
    """what answers ``question``; put after it with one space"""
    prompt: str | None = None
    completion: str | None = None
    """what follows ``prompt``, exactly as given, its leading space included"""
    text: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """whatever rides along: subject, paraphrases, perturbed, ...; None is the same as absent"""
    where: str = field(default="", compare=False, repr=False)
    """Where the fact was read, such as "facts.jsonl, line 3"; errors about it say so."""

    def __post_init__(self) -> None:
        """Check the form, so that whatever holds a Fact need not."""
        object.__setattr__(self, "extra", {k: v for k, v in self.extra.items() if v is not None})
        kinds = [kind for kind in get_args(FactKind) if getattr(self, kind) is not None]
        if len(kinds) != 1:
            seen = f"both {kinds[0]!r} and {kinds[1]!r}" if kinds else f"keys {_names(self)}"
            raise DissectError(f"a fact needs one of 'question', 'prompt', 'text', got {seen}: give exactly one")
        for key in FACT_KEYS:
            value = getattr(self, key)
            _check_text(key, value)
            if value is not None and (not value or (key != "completion" and not value.strip())):
                raise DissectError(f"{key!r} is empty, got {value!r}: give some text or leave the key out")
            if value is not None and key not in (self.kind, PARTNER[self.kind]):
                raise DissectError(f"{key!r} does not go with {self.kind!r}, got {value!r:.60}: leave one of them out")
        if taken := sorted(set(self.extra) & set(FACT_KEYS)):
            raise DissectError(f"extra may not hold {taken[0]!r}: give it as a field of its own")

    @property
    def kind(self) -> FactKind:
        """Which of the three forms this is, by the key that starts it."""
        return "question" if self.question is not None else "prompt" if self.prompt is not None else "text"

    @property
    def target(self) -> str | None:
        """The answer or the completion, None where there is none (a text has none: it is recalled whole)."""
        partner = PARTNER[self.kind]
        return None if partner is None else getattr(self, partner)

    def row(self) -> dict[str, Any]:
        """The fact as one flat mapping, the form in which it is written."""
        return {k: getattr(self, k) for k in FACT_KEYS if getattr(self, k) is not None} | dict(self.extra)


def fact_from_row(row: Any, where: str) -> Fact:
    """Make a Fact of one flat mapping, also under the names of published data (see `known_names`).

    Keys that are no field of Fact go to ``extra``.

    Raises:
        DissectError: the row is no mapping or no fact; the message starts with ``where`` (file and line).
    """
    if not isinstance(row, Mapping):
        raise DissectError(f"{where}: a fact must be an object with keys, got {type(row).__name__} {row!r:.60}")
    try:
        row = known_names(row)
        for key in FACT_KEYS:
            _check_text(key, row.get(key))
        extra = {key: value for key, value in row.items() if key not in FACT_KEYS}
        return Fact(**{key: row[key] for key in FACT_KEYS if key in row}, extra=extra, where=where)
    except DissectError as error:
        raise DissectError(f"{where}: {error}") from error


def _check_text(key: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        number = isinstance(value, int) and key == "answer"
        choices = ", or give the 'choices' that it counts" if number else ""
        raise DissectError(f"{key!r} must be text, got {type(value).__name__} {value!r:.60}: put it in quotes{choices}")


def _names(fact: Fact) -> str:
    names = [key for key in FACT_KEYS if getattr(fact, key) is not None] + list(fact.extra)
    return ", ".join(map(repr, names)) or "none"
