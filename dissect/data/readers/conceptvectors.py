"""ConceptVectors records (Hong et al. 2024, arXiv:2406.11614), and those of *Dissecting Fine-Tuning Unlearning*.

A record is a concept with the MLP layer and column that holds it: ``Concept``, ``Layer``, ``Dim``, ``QA`` (10
questions without answers), ``text_completion`` (First_half, Second_half), ``unrelated_QA`` (50 questions of other
concepts), ``wikipedia_content``; the answered files add ``QA_with_answers`` (the base model's text, prompt included)
and ``answers_tokens_num`` (the length the published notebook scores).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from dissect.data.fact import Fact
from dissect.errors import DissectError

ConceptPart = Literal["QA", "text_completion", "unrelated_QA", "wikipedia"]
_KEPT = ("Concept", "Layer", "Dim", "id", "ID")


def looks_like_concepts(content: Sequence[Any]) -> bool:
    """Return True if rows read from a JSON file are ConceptVectors records."""
    return bool(content) and all(
        isinstance(row, Mapping) and {"Concept", "Layer", "Dim"} <= set(row) for row in content
    )


def concept_facts(
    records: Sequence[Mapping[str, Any]],
    *,
    concept: int | str | None = None,
    part: ConceptPart = "QA",
    where: str = "ConceptVectors file",
) -> list[Fact]:
    """Facts of one part of the records, with Concept, Layer, Dim and id in ``extra``.

    Questions come without an answer (use the base model's own answers) and stripped of the stray blanks and line
    breaks around them; halves of a text become prompt and completion joined by one space.

    Args:
        records: the records of a file.
        concept: an id, or a name (case is ignored); None takes all.
        part: which texts of a record.
        where: what errors call the file.

    Raises:
        DissectError: no such concept or part, or a record without it.
    """
    if part not in get_args(ConceptPart):
        raise DissectError(f"no ConceptVectors part {part!r}: choose one of {', '.join(get_args(ConceptPart))}")
    matching = [record for record in records if concept is None or _is(record, concept)]
    if not matching:
        known = ", ".join(f"{r.get('id', '-')} {r.get('Concept', '?')}" for r in records)
        raise DissectError(f"{where}: no concept {concept!r}: choose an id or a name of {known}")
    facts: list[Fact] = []
    for record in matching:
        name = f"{where}, concept {record.get('Concept')!r}"
        try:
            facts.extend(replace(fact, where=name) for fact in _part(record, part))
        except KeyError as error:
            raise DissectError(f"{name}: no key {error.args[0]!r} for part {part!r}: choose another part") from error
        except DissectError as error:
            raise DissectError(f"{name}, {part}: {error}") from error
    return facts


def _is(record: Mapping[str, Any], concept: int | str) -> bool:
    if isinstance(concept, int):
        return record.get("id") == concept
    return str(record.get("Concept", "")).casefold() == concept.casefold() or str(record.get("id")) == concept


def _part(record: Mapping[str, Any], part: ConceptPart) -> list[Fact]:
    kept = {key: record[key] for key in _KEPT if key in record}
    if part == "wikipedia":
        return [Fact(text=record["wikipedia_content"], extra=kept)]
    if part == "text_completion":
        return [
            Fact(prompt=halves["First_half"].rstrip(), completion=" " + halves["Second_half"].strip(), extra=kept)
            for halves in record[part]
        ]
    return [
        Fact(question=question.strip(), extra=kept | _answered(record, part, i))
        for i, question in enumerate(record[part])
    ]


def _answered(record: Mapping[str, Any], part: ConceptPart, i: int) -> dict[str, Any]:
    """The i-th entry of the keys that only the answered files have; they go with QA alone."""
    keys = ("QA_with_answers", "answers_tokens_num") if part == "QA" else ()
    return {key: record[key][i] for key in keys if key in record}
