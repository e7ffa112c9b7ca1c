"""The `Attack` record, what it may use and what it must return.

An attack may bring knowledge back, and has seen none of the tested facts.

**A new attack** is one file of this folder that holds an `Attack` as ``ATTACK`` (or several as ``ATTACKS``);
`available` finds them there. Its ``run`` gets a `Target` and returns one score matrix for each of ``target.sheets``,
in their order: entry (i, j) is how well answer j fits question i after the attack, in any unit in which higher means
better (an offset of a row or of a column drops out). NaN stands where ``sheet.expected`` is False, and in whole rows
that could not be asked. Three rules keep the test exact:

1. Nothing but ``target.model``, ``target.retain`` and ``target.others(fold)`` may be learnt from. The sheets hold
   questions and candidate answers, never which belong together; the base model is not there at all.
2. What is fitted on ``target.others(fold)`` may be read on sheets of that fold only (`Target.by_fold`).
3. What depends on a candidate answer may not depend on which question it belongs to. That holds by itself for
   whatever treats all cells of a matrix alike.

**Why a model that never knew stays at chance.** A matrix is a function of the model, the retain facts, forget facts of
other folds, the seed, and a sheet; none of these changes when the answers of the sheet are dealt to other subjects. So
under the null hypothesis every dealing is as likely as the true one given the matrix, and the test is exact whatever
the attack does: long or popular answers, answers that share tokens with names, or a readout that favours the answers it
was fitted on move whole columns, or single cells, in ways that know nothing of the key. Three things are beyond the
argument. Facts learnt from may *mention* a tested subject (the spouse of a spouse): `unrelated` takes them out. The
words of a question may go with its answer: `dissect.attacks.wordings` takes out what was cut from statements. And where
answers can be guessed from names, training or fitting on other facts may teach the guess; that is beyond chance and not
beyond guessing, and the retrained model, put through the same attack, says how much of it there is.

The model is as it was when ``run`` returns: train in copies (`exchanged`), hook in a context.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from transformer_lens import HookedTransformer

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.errors import DissectError, near_miss
from dissect.pairing.asking import Asking
from dissect.pairing.block import AS_ASKED, Question, Sheet
from dissect.pairing.scoring import Change, score_sheets

Family = Literal["asking", "training", "states", "weights", "sampling"]
FAMILIES: tuple[Family, ...] = ("asking", "training", "states", "weights", "sampling")
Scores = list[Float[np.ndarray, "_ _"]]
"""One matrix a sheet, in the sheets' order."""


class NotPossible(DissectError):
    """An attack cannot be made with these facts or this model; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One way of bringing knowledge back."""

    name: str
    """Used in calls and in results, e.g. ``relearn_others``."""
    label: str
    """For tables and axes."""
    family: Family
    seen: str
    """One sentence: the facts and models that it has seen."""
    run: Callable[..., Scores]
    """Called with a `Target` and the budget's entries by name. Raises `NotPossible` where it cannot be made."""
    budget: Mapping[str, Any] = field(default_factory=dict)
    """Settings that a user may change (``options={"continued.steps": 50}``), with their defaults: steps, lr,
    lora_rank, n_shots, ..."""
    slow: bool = False
    """Trains something, or samples: left out by ``attacks="quick"``."""
    trains: bool = False
    """Needs the memory of training (``dissect plan``)."""
    fitted_on: Literal["", "retain", "others"] = ""
    """Facts on whose answers a readout of states is fitted, the only ones that it can tell apart: ``retain`` facts, or
    forget facts about ``others`` too. Empty for every other attack."""


@dataclass(frozen=True)
class Target:
    """The checkpoint under attack, with everything that an attack may use."""

    model: HookedTransformer
    sheets: tuple[Sheet, ...]
    retain: Facts
    """Facts to be kept, none of which says who, among the tested, belongs to what; may be empty."""
    forget: Facts = field(repr=False)
    """All forget facts; use `others`."""
    folds: Int[np.ndarray, " fact"] = field(repr=False)
    """The fold of each forget fact; all facts about one subject are in one. -1: in none, and never trained on."""
    asking: Asking = field(default_factory=Asking)
    seed: int = 0
    progress: bool = True
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    """Kept from attack to attack on the same facts, e.g. tokens; of a model only under its fingerprint."""
    notes: list[str] = field(default_factory=list)
    """Notes of the attack beside its numbers, a sentence each: the layer it read, the rate it trained at."""
    weak: list[str] = field(default_factory=list)
    """Why finding nothing means nothing, the attack having been too weak, a sentence each: then nothing is erased."""

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer."""
        return self.model.tokenizer

    @property
    def fold_names(self) -> list[int]:
        """The folds that have sheets."""
        return sorted({sheet.fold for sheet in self.sheets})

    def others(self, fold: int) -> Facts:
        """Forget facts about other subjects than those tested in ``fold``: what may be relearnt before reading it.

        Facts that mention a subject tested there are left out.

        Raises:
            NotPossible: all facts are in one fold.
        """
        elsewhere = [fact for fact, own in zip(self.forget, self.folds, strict=True) if own not in (fold, -1)]
        tested = frozenset().union(*(sheet.subjects for sheet in self.sheets if sheet.fold == fold))
        facts = unrelated(elsewhere, tested)
        if not facts:
            raise NotPossible(
                "there are too few subjects to relearn some of them and test the others, or the facts do not say whom "
                "they are about ('subject' in their extra)"
            )
        return facts

    def kept(self, least: int = 1, *, answered: bool = False) -> Facts:
        """The retain facts; with ``answered`` those that are a question or a prompt with an answer.

        Raises:
            NotPossible: there are fewer than ``least``.
        """
        facts = self.retain.filter(lambda fact: fact.kind != "text" and bool(fact.target)) if answered else self.retain
        if len(facts) < least:
            kind = "retain facts with a question and an answer" if answered else "retain facts"
            raise NotPossible(
                f"needs at least {least} {kind} that are about no tested subject, got {len(facts)}: pass retain=..."
            )
        return facts

    def score(
        self,
        *,
        wording: str = AS_ASKED,
        change: Change | None = None,
        fold: int | None = None,
        model: HookedTransformer | None = None,
    ) -> Scores:
        """Score matrices by log p(answer | question), as the model now is, hooks included.

        Args:
            wording: "as asked", "paraphrases" or "held_out"; of several wordings of a fact the mean is taken.
            change: makes the questions that are truly asked of one question, e.g. with examples before it
                (`Question.after`).
            fold: only the sheets of this fold, in their order; by default all.
            model: another model than the target's, e.g. a rounded copy.

        Raises:
            NotPossible: no fact has such a wording.
        """
        sheets = [sheet for sheet in self.sheets if fold is None or sheet.fold == fold]
        if not any(ask.asked(wording) for sheet in sheets for ask in sheet.asks):
            raise NotPossible(f"no fact has {wording!r} in its extra")
        return score_sheets(
            self.model if model is None else model,
            sheets,
            self.asking,
            wording=wording,
            change=change,
            memo=self.memo,
        )

    def by_fold(self, read: Callable[[int], Sequence[Float[np.ndarray, "_ _"]]]) -> Scores:
        """Matrices of all sheets, where ``read(fold)`` gives those of one fold's sheets, in their order."""
        parts: dict[int, Iterator[Float[np.ndarray, "_ _"]]] = {fold: iter(read(fold)) for fold in self.fold_names}
        return [next(parts[sheet.fold]) for sheet in self.sheets]


def unrelated(facts: Iterable[Fact], subjects: Iterable[str]) -> Facts:
    """The facts whose text mentions none of the subjects, as whole words."""
    names = sorted((re.escape(name) for name in subjects if name), key=len, reverse=True)
    if not names:
        return Facts(facts)
    mention = re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)")
    return Facts(fact for fact in facts if not mention.search(f"{getattr(fact, fact.kind)}\n{fact.target or ''}"))


def available() -> dict[str, Attack]:
    """All attacks by name, the quick ones first, then in the order of `FAMILIES` and of their files' names."""
    import dissect.attacks as room

    attacks: list[Attack] = []
    for info in sorted(pkgutil.iter_modules(room.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{room.__name__}.{info.name}")
        attacks.extend([module.ATTACK] if hasattr(module, "ATTACK") else getattr(module, "ATTACKS", ()))
    attacks.sort(key=lambda attack: (attack.slow, FAMILIES.index(attack.family)))
    return {attack.name: attack for attack in attacks}


def chosen_attacks(names: str | Iterable[str] | None) -> list[Attack]:
    """Attacks by name or family, ``"quick"`` (those that train nothing) or ``"all"``; None is all.

    Raises:
        DissectError: no such attack.
    """
    known = available()
    wanted = ["all"] if names is None else [names] if isinstance(names, str) else list(names)
    kept: set[str] = set()
    for name in wanted:
        if name in ("all", "quick"):
            kept |= {attack.name for attack in known.values() if name == "all" or not attack.slow}
        elif name in FAMILIES:
            kept |= {attack.name for attack in known.values() if attack.family == name}
        elif name in known:
            kept.add(name)
        else:
            every = ["all", "quick", *FAMILIES, *known]
            raise DissectError(f"no attack {name!r}{near_miss(str(name), every)}: choose from {', '.join(every)}")
    if not kept:
        raise DissectError("no attack chosen: name some, or leave attacks out")
    return [attack for attack in known.values() if attack.name in kept]


def budgets(attacks: Iterable[Attack], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each attack's budget, with the user's ``options`` (``{"continued.steps": 50}``) in place of defaults.

    Raises:
        DissectError: an option that no attack has.
    """
    merged = {attack.name: dict(attack.budget) for attack in attacks}
    for option, value in options.items():
        owner, dot, name = option.partition(".")
        if not dot or owner not in merged or name not in merged[owner]:
            known = [f"{attack}.{key}" for attack, budget in merged.items() for key in budget]
            raise DissectError(
                f"no option {option!r}{near_miss(option, known)}: choose from {', '.join(known) or 'none'}"
            )
        merged[owner][name] = value
    return merged


__all__ = [
    "FAMILIES",
    "Attack",
    "Family",
    "NotPossible",
    "Question",
    "Scores",
    "Sheet",
    "Target",
    "available",
    "budgets",
    "chosen_attacks",
    "unrelated",
]
