"""Blocks of the three kinds: answers crossed with questions, subjects within questions, given foils."""

from collections.abc import Mapping, Sequence

import numpy as np

from dissect.pairing.block import Ask, Block, Sheet
from dissect.pairing.entries import Entry
from dissect.pairing.fact_labels import alike, label, unlike


def usable(entries: Sequence[Entry]) -> list[Entry]:
    """Those that have anything to be told from: of a group, those whose answer has a foil among the others."""
    kept = list(entries)
    if not kept or kept[0].kind == "foils":
        return [entry for entry in kept if len(_choices(entry)) > 1]
    if kept[0].kind == "subjects":
        return kept if len({entry.subject for entry in kept}) > 1 else []
    while kept:
        foils = _foils(kept)
        staying = [entry for entry, row in zip(kept, foils, strict=True) if row.any()]
        if len(staying) == len(kept):
            return kept
        kept = staying
    return []


def answers_block(entries: Sequence[Entry], fold: int, template: str, numbers: Mapping[str, int]) -> Block:
    """Every question of a group against every different answer of the others.

    An answer that names its subject names the subject of the question instead.
    """
    labels = sorted({entry.label for entry in entries})
    first = {name: next(entry.answer for entry in entries if entry.label == name) for name in labels}
    asks = tuple(
        Ask(
            row,
            tuple(range(len(labels))),
            tuple(entry.text(first[name]) for name in labels),
            entry.questions(template),
        )
        for row, entry in enumerate(entries)
    )
    sheet = _sheet(entries, fold, (len(entries), len(labels)), asks)
    slots: dict[int, tuple[int, ...]] = {}
    for slot, entry in enumerate(entries):
        subject = numbers[entry.subject]
        slots[subject] = (*slots.get(subject, ()), slot)
    return Block(
        sheet,
        facts=np.array([entry.number for entry in entries]),
        subjects=np.array([numbers[entry.subject] for entry in entries]),
        slot=np.arange(len(entries)),
        own=np.array([labels.index(entry.label) for entry in entries]),
        foils=_foils(entries),
        slots_of=slots,
    )


def subjects_block(entries: Sequence[Entry], fold: int, template: str, numbers: Mapping[str, int]) -> Block:
    """Every question, and its answer, about every subject."""
    subjects = sorted({entry.subject for entry in entries})
    asks = []
    for row, entry in enumerate(entries):
        for column, subject in enumerate(subjects):
            swapped = entry.about(subject)
            text = str(swapped.fact.target).strip()
            asks.append(Ask(row, (column,), (text,), swapped.questions(template)))
    return Block(
        _sheet(entries, fold, (len(entries), len(subjects)), tuple(asks)),
        facts=np.array([entry.number for entry in entries]),
        subjects=np.array([numbers[entry.subject] for entry in entries]),
        slot=np.array([subjects.index(entry.subject) for entry in entries]),
        own=np.arange(len(subjects)),
        foils=~np.eye(len(subjects), dtype=bool),
        slots_of={numbers[subject]: (column,) for column, subject in enumerate(subjects)},
    )


def foils_block(entries: Sequence[Entry], fold: int, template: str, numbers: Mapping[str, int]) -> Block:
    """Every question against its own answer and its given foils, in the order of the alphabet."""
    choices = [_choices(entry) for entry in entries]
    width = max(map(len, choices))
    asks = tuple(
        Ask(row, tuple(range(len(texts))), tuple(texts), entry.questions(template))
        for row, (entry, texts) in enumerate(zip(entries, choices, strict=True))
    )
    return Block(
        _sheet(entries, fold, (len(entries), width), asks),
        facts=np.array([entry.number for entry in entries]),
        subjects=np.array([numbers[entry.subject] for entry in entries]),
        slot=np.array(
            [texts.index(str(entry.fact.target).strip()) for entry, texts in zip(entries, choices, strict=True)]
        ),
        own=np.arange(width),
        foils=~np.eye(width, dtype=bool),
    )


def _sheet(entries: Sequence[Entry], fold: int, shape: tuple[int, int], asks: tuple[Ask, ...]) -> Sheet:
    subjects = frozenset(entry.subject for entry in entries)
    return Sheet(entries[0].group, entries[0].kind, fold, shape, asks, subjects)


def _choices(entry: Entry) -> list[str]:
    """The answer and the foils that are unlike it and each other, sorted."""
    texts = [str(entry.fact.target).strip()]
    for foil in entry.foils:
        if not any(alike(label(foil), label(text)) for text in texts):
            texts.append(foil)
    return sorted(texts)


def _foils(entries: Sequence[Entry]) -> np.ndarray:
    """(slot, column): the labels that are unlike every answer of the slot's subject."""
    labels = sorted({entry.label for entry in entries})
    apart = unlike(labels)
    own = {name: [labels.index(e.label) for e in entries if e.subject == name] for name in {e.subject for e in entries}}
    return np.stack([apart[own[entry.subject]].all(axis=0) for entry in entries])
