"""From facts to what is tested: groups, folds by subject, blocks of at most 20 subjects, and who is re-dealt."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np
from jaxtyping import Int

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError
from dissect.pairing.block import Block, Kind, Sheet
from dissect.pairing.dealing import Dealing, Move, cut, in_folds
from dissect.pairing.entries import Entry, entries_of
from dissect.pairing.fact_labels import SUBJECT, gives_away
from dissect.pairing.make_blocks import answers_block, foils_block, subjects_block, usable

BLOCK = 20
"""Subjects in a block at most: cost grows with facts times this."""
ENOUGH_DEALINGS = 10_000
"""Folds are made where they leave at least so many different re-dealings."""


@dataclass(frozen=True)
class Group:
    """Facts of one kind, as a result names them."""

    name: str
    kind: Kind
    facts: int
    subjects: int
    answers: int
    """Different answers."""
    exact: bool
    """True where one half is exactly chance for a model that never knew."""
    note: str = ""


@dataclass(frozen=True)
class Tested:
    """Everything that is tested, with its key."""

    facts: Facts = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    folds: Int[np.ndarray, " fact"] = field(repr=False)
    """The fold of each of ``facts``, one for all facts about a subject; -1 for facts that are left out."""
    dealing: Dealing = field(repr=False)
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    """One sentence for each kind of fact that was left out, and why."""

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """The blocks without their keys."""
        return tuple(block.sheet for block in self.blocks)

    @property
    def rows(self) -> Int[np.ndarray, " row"]:
        """The fact of each row, block behind block."""
        return np.concatenate([block.facts for block in self.blocks])

    @property
    def subjects(self) -> Int[np.ndarray, " row"]:
        """The subject of each row, block behind block."""
        return np.concatenate([block.subjects for block in self.blocks])

    @property
    def names(self) -> frozenset[str]:
        """The subjects tested."""
        return frozenset().union(*(block.sheet.subjects for block in self.blocks))

    @property
    def exact(self) -> bool:
        """True where chance is exact in every group."""
        return all(group.exact for group in self.groups)


def paired(
    facts: Iterable[Fact],
    *,
    template: str = DEFAULT_TEMPLATE,
    subject: str = "subject",
    n_folds: int | None = None,
    seed: int = 0,
) -> Tested:
    """Make groups, folds and blocks of facts.

    A group holds the facts whose ``extra`` has the same ``group``, ``attribute`` or ``relation``; its questions are
    compared on each other's answers. Facts without a group are asked about other subjects, or compared with the wrong
    answers that came with them. Equal answers, answers of one subject, and answers that begin alike, word by word, are
    no foils of each other.

    Args:
        facts: what is to be tested.
        template: for questions; what it uses of ``extra`` stays with them.
        subject: the key of ``extra`` that says whom a fact is about.
        n_folds: relearning trains on other folds than it tests; None makes two where that leaves enough re-dealings,
            and else one. Where a fact does not say whom it is about there is always one.
        seed: decides folds and blocks.

    Raises:
        DissectError: nothing can be compared; the message says why.
    """
    facts = Facts(facts)
    entries, notes = entries_of(facts, subject)
    if n_folds is not None and n_folds < 1:
        raise DissectError(f"n_folds must be at least 1, got {n_folds}")
    if not all(entry.named for entry in entries):  # two of them may be about one subject, and in two folds
        n_folds = 1
    made = None
    for count in (2, 1) if n_folds is None else (n_folds,):
        made = _made(facts, entries, notes, template, count, seed)
        if made.blocks and made.dealing.log_count >= log(ENOUGH_DEALINGS):
            break
    assert made is not None
    if not made.blocks:
        reasons = " ".join(made.notes) or "There are no facts."
        raise DissectError(
            f"no answer can be told from another: {reasons} Give facts about several subjects that share a 'group' in "
            "their extra, or wrong answers under 'perturbed'"
        )
    return made


def _made(
    facts: Facts, entries: Sequence[Entry], notes: Sequence[str], template: str, n_folds: int, seed: int
) -> Tested:
    by_subject: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_subject[entry.subject].append(entry)
    signatures = {name: _signature(own) for name, own in by_subject.items()}
    order = np.random.default_rng(seed).permutation(sorted(by_subject)).tolist() if by_subject else []
    classes: dict[tuple, list[str]] = defaultdict(list)
    for name in order:
        classes[signatures[name]].append(name)
    ordered = [classes[signature] for signature in sorted(classes, key=repr)]
    fold_of = in_folds(ordered, n_folds)
    numbers = {name: number for number, name in enumerate(sorted(by_subject))}

    blocks: list[Block] = []
    lost: Counter[str] = Counter()
    for fold in range(n_folds):
        members: dict[tuple[str, Kind], list[str]] = defaultdict(list)
        for name in (name for own in ordered for name in own if fold_of[name] == fold):
            for key in dict.fromkeys((entry.group, entry.kind) for entry in by_subject[name]):
                members[key].append(name)
        for (group, kind), names in sorted(members.items()):
            make = {"answers": answers_block, "subjects": subjects_block, "foils": foils_block}[kind]
            for run in cut(names, BLOCK):
                present = [entry for name in run for entry in by_subject[name]]
                own = [entry for entry in present if (entry.group, entry.kind) == (group, kind)]
                kept = usable(sorted(own, key=lambda entry: entry.number))
                lost[group] += len(own) - len(kept)
                if kept:
                    blocks.append(make(kept, fold, template, numbers))
    said = [
        f"{count} {'fact' if count == 1 else 'facts'} of {group!r} cannot be compared: the others of the group have "
        "the same answer, or there are none."
        for group, count in lost.items()
        if count
    ]
    folds = np.full(len(facts), -1)
    for entry in entries:
        folds[entry.number] = fold_of[entry.subject]
    return Tested(
        facts=facts,
        blocks=tuple(blocks),
        folds=folds,
        dealing=_dealing(blocks),
        groups=tuple(_group(name, entries, blocks) for name in dict.fromkeys(block.sheet.group for block in blocks)),
        notes=(*notes, *said),
    )


def _signature(entries: Sequence[Entry]) -> tuple:
    """In which groups a subject has how many facts; how many questions are swapped does not matter."""
    counts = Counter((entry.group, entry.kind) for entry in entries if entry.kind != "foils")
    return tuple(sorted((group, kind, 1 if kind == "subjects" else n) for (group, kind), n in counts.items()))


def _dealing(blocks: Sequence[Block]) -> Dealing:
    """Subjects with equally many rows in each of the same blocks change places; those alone in that, block by block."""
    starts = [int(start) for start in np.cumsum([0, *(len(block.facts) for block in blocks)])[:-1]]
    truth = np.concatenate([block.slot for block in blocks]) if blocks else np.zeros(0, dtype=int)
    moves: list[Move] = []
    for block, start in zip(blocks, starts, strict=True):
        if block.sheet.kind == "foils":
            tables = {start + row: np.flatnonzero(cells) for row, cells in enumerate(block.sheet.expected)}
            moves.append(Move((tables,), apart=True))
    comparing = [pair for pair in zip(blocks, starts, strict=True) if pair[0].sheet.kind != "foils"]
    held: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (block, _) in enumerate(comparing):
        for subject, slots in block.slots_of.items():
            held[subject].append((number, 1 if block.sheet.kind == "subjects" else len(slots)))
    alike: dict[tuple, list[int]] = defaultdict(list)
    for subject, places in held.items():
        alike[tuple(places)].append(subject)
    moves.extend(_move(members, comparing) for members in alike.values() if len(members) > 1)
    alone = {members[0] for members in alike.values() if len(members) == 1}
    for pair in comparing:
        by_count: dict[int, list[int]] = defaultdict(list)
        for subject, slots in pair[0].slots_of.items():
            if subject in alone:
                by_count[1 if pair[0].sheet.kind == "subjects" else len(slots)].append(subject)
        moves.extend(_move(members, [pair]) for members in by_count.values() if len(members) > 1)
    return Dealing(tuple(moves), truth)


def _move(members: Sequence[int], blocks: Sequence[tuple[Block, int]]) -> Move:
    tables: list[dict[int, np.ndarray]] = [{} for _ in members]
    for block, start in blocks:
        if not all(subject in block.slots_of for subject in members):
            continue
        for slot, subject in enumerate(members):
            for nth, row in enumerate(np.flatnonzero(block.subjects == subject)):
                slots = [block.slots_of[other] for other in members]
                tables[slot][start + int(row)] = np.array([held[nth % len(held)] for held in slots])
    return Move(tuple(tables))


def _group(name: str, entries: Sequence[Entry], blocks: Sequence[Block]) -> Group:
    numbers = {int(i) for block in blocks if block.sheet.group == name for i in block.facts}
    own = [entry for entry in entries if entry.number in numbers and entry.group == name]
    kind = own[0].kind
    if kind == "foils":
        note = (
            "The wrong answers came with the facts: one half is chance only if they were drawn as the right ones are."
        )
    else:
        telling = sum(entry.named and _telling(entry) for entry in own)
        note = (
            f"{telling} of {len(own)} facts hold a part of their subject's name, which may give the answer away: one "
            "half is not exactly chance."
            if telling
            else ""
        )
    return Group(
        name,
        kind,
        facts=len(own),
        subjects=len({entry.subject for entry in own}),
        answers=len({entry.label for entry in own}),
        exact=not note,
        note=note,
    )


def _telling(entry: Entry) -> bool:
    texts = [entry.answer]
    if entry.kind == "subjects":
        texts.append(entry.about(SUBJECT).questions("{question}")["as asked"][0].fact.row().__repr__())
    return any(gives_away(text, entry.subject) for text in texts)
