"""The panel: what is measured of each checkpoint, part by part, so that an interrupted verdict goes on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.attacks.attack import Attack, NotPossible, Target
from dissect.data.facts import Facts
from dissect.evaluation.sources import CheckpointSource, signature, weights
from dissect.jobs.items import Items
from dissect.jobs.journal import JournalRow
from dissect.models.adapter_base import adapter_base_of
from dissect.models.files.load import load
from dissect.pairing.asking import Asking
from dissect.pairing.scoring import score_sheets
from dissect.pairing.tested import Tested
from dissect.verdicts.answering import in_all_wordings, perplexity
from dissect.verdicts.findings import Matrices

ANSWERS = "answers"
"""The part that is no attack: what is answered, and what was kept."""
NOTE = "note"
"""The key of what an attack has to say beside its matrices."""
WEAK = "weak"
"""The key of why an attack was too weak for finding nothing to mean anything."""
_REFUSED = "not possible"


@dataclass
class Bench:
    """Everything that is the same for all checkpoints."""

    tested: Tested
    forget: Facts
    retain: Facts
    """For attacks: see `retain_to_learn`."""
    note: str
    """A sentence about these facts, for the words of every verdict; may be empty."""
    kept: Facts
    """Retain facts that are asked, to see what was kept."""
    kept_tested: Tested | None
    """These facts as a forced choice; None where they have no groups."""
    texts: Facts
    attacks: tuple[Attack, ...]
    budgets: Mapping[str, Mapping[str, Any]]
    asking: Asking
    dtype: str
    device: str | None
    seed: int
    progress: bool
    adapter_base: str | None = None
    """The base model of adapters, instead of the one that each records."""
    stand_in: CheckpointSource | None = None
    """The base model of the verdict, in place of a recorded one that cannot be had."""
    memo: dict[Any, Any] = field(default_factory=dict)
    _held: tuple[str, HookedTransformer] | None = None

    def measure(self, name: str, source: CheckpointSource, part: str) -> JournalRow:
        """One part of one checkpoint, as a journal keeps it."""
        model = self._model(name, source)
        if part == ANSWERS:
            return self._answers(model)
        attack = next(attack for attack in self.attacks if attack.name == part)
        target = Target(
            model,
            self.tested.sheets,
            self.retain,
            self.forget,
            self.tested.folds,
            asking=self.asking,
            seed=self.seed,
            progress=self.progress,
            memo=self.memo,
        )
        try:
            scores = attack.run(target, **self.budgets[attack.name])
        except NotPossible as reason:
            return {_REFUSED: str(reason)}
        for matrix, sheet in zip(scores, self.tested.sheets, strict=True):
            if np.shape(matrix) != sheet.shape:
                raise RuntimeError(f"attack {attack.name} gave a matrix of {np.shape(matrix)} for one of {sheet.shape}")
        row: JournalRow = {str(number): np.asarray(matrix, dtype=np.float64) for number, matrix in enumerate(scores)}
        row |= {WEAK: " ".join(target.weak)} if target.weak else {}
        return row | ({NOTE: " ".join(target.notes)} if target.notes else {})

    def _answers(self, model: HookedTransformer) -> JournalRow:
        said = in_all_wordings(model, self.forget, self.asking)
        row: JournalRow = {f"said {wording}": values for wording, values in said.items()}
        if len(self.kept):
            row["kept"] = in_all_wordings(model, self.kept.filter(_asked), self.asking)["as asked"]
        if self.kept_tested is not None:
            scores = score_sheets(model, self.kept_tested.sheets, self.asking, memo=self.memo)
            row |= {f"kept {number}": matrix for number, matrix in enumerate(scores)}
        if len(self.texts):
            row["perplexity"] = perplexity(model, self.texts, self.asking)
        return row

    def _model(self, name: str, source: CheckpointSource) -> HookedTransformer:
        """The checkpoint in memory; one at a time of those that come from files."""
        if isinstance(source, HookedTransformer):
            return source
        if self._held is None or self._held[0] != name:
            self._held = None  # the other goes before this one comes
            stand_in = None if source is self.stand_in else self.stand_in
            under = adapter_base_of(source, given=self.adapter_base, stand_in=stand_in)
            self._held = name, load(source, dtype=self.dtype, device=self.device, base=under, progress=self.progress)
        return self._held[1]


def measured(
    bench: Bench, sources: Mapping[str, CheckpointSource], parts: Mapping[str, tuple[str, ...]], items: Items | None
) -> dict[str, dict[str, JournalRow]]:
    """All parts of all checkpoints; those that journals hold are not measured again.

    Raises:
        Unfinished: other tasks of a job array have not done theirs yet.
        JobError: another rank shows no sign of life.
    """
    keys = {(name, part): f"{_mark(name, sources[name])} {part}" for name in sources for part in parts[name]}
    rows: dict[str, JournalRow] = {}
    with tqdm(keys.items(), desc="verdict", unit="part", disable=not bench.progress) as bar:
        for (name, part), key in bar:
            bar.set_postfix_str(f"{name}: {part}")

            def compute(name: str = name, part: str = part) -> JournalRow:
                return bench.measure(name, sources[name], part)

            if items is None:
                rows[key] = compute()
            else:
                items.take(key, f"{name}: {part}", compute)
    if items is not None:
        rows = items.gather()
    return {name: {part: rows[keys[name, part]] for part in parts[name]} for name in sources}


def matrices(row: JournalRow, prefix: str = "") -> Matrices | str:
    """The score matrices of a part, or the sentence that says why there are none."""
    if _REFUSED in row:
        return str(row[_REFUSED])
    numbers = sorted(int(key.removeprefix(prefix)) for key in row if key.removeprefix(prefix).isdecimal())
    return [np.atleast_2d(row[f"{prefix}{number}"]) for number in numbers]


def _asked(fact: Any) -> bool:
    return fact.kind != "text"


def _mark(name: str, source: CheckpointSource) -> str:
    """A checkpoint as it is now: nothing that was measured of another by its name is taken for it."""
    held = weights(source) if isinstance(source, HookedTransformer) else signature(source) or str(source)
    return f"{name} {hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]}"
