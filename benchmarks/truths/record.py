"""Record of a model: class, label, dose, how it was made, and what it says of itself when checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.truths.settings import BACK, BROKEN, CLASSES, FORGOTTEN, KEPT, KNOWN
from dissect.errors import DissectError
from dissect.files import atomic_file

RECORDS = "models"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One model."""

    name: str
    seed: int
    kind: str
    """Its class: the construction it comes from. In the file the key is ``class``."""
    label: str
    """The truth: one of the classes. It is ``partial`` where a dose between 0 and 1 was left in, and ``unlabelled``
    where the construction did not land where it was meant to."""
    dose: float
    """Share of the forget facts that is truly in the weights; NaN where nobody knows."""
    exact: bool
    """True if the label holds by construction, to the bit: then it counts in the primary endpoint."""
    cluster: str
    """Models of one cluster share their origin: whole clusters are drawn in a bootstrap."""
    family: str
    """The construction without its strength: a stratum."""
    forget: str
    """The forget set: ``people`` or ``birthplace``."""
    ground: str
    """The Hugging Face directory whose tensors it is kept against."""
    base: str
    """The model that plays the base model beside it, which knows all the forget facts."""
    made: Mapping[str, Any]
    """Settings and steps."""
    check: Mapping[str, float]
    """Shares answered: ``question``, ``paraphrases``, ``held_out`` of the forget facts, ``kept``, each of what its base
    answers; ``most_said``, the largest of the three; ``perplexity``, over the base's; ``undone``, what undoing brings
    back; ``stated``, share of the forget facts that stand in texts it learnt from."""
    undo: Mapping[str, Any] | None = None
    """``tensors``: to be put back as the base has them; ``template``: to ask with; ``share``: of all parameters."""
    seconds: float = field(default=0.0, compare=False)
    """Processor time."""

    def row(self) -> dict[str, Any]:
        """The row that is written: the class under its own name, NaN as null."""
        row = {"class" if key == "kind" else key: value for key, value in asdict(self).items()}
        row["dose"] = None if math.isnan(self.dose) else self.dose
        row["check"] = {key: value if math.isfinite(value) else None for key, value in self.check.items()}
        return row


def validate(record: Record) -> Record:
    """The record, if it agrees with itself.

    Raises:
        DissectError: a class, label or dose that cannot be, or a label that its own check contradicts.
    """
    problems = list(_problems(record))
    if problems:
        raise DissectError(f"the record of {record.name} contradicts itself: {'; '.join(problems)}")
    return record


def landed(kind: str, check: Mapping[str, float]) -> bool:
    """Return True if a model is where its class wants it: see the lines in `settings`."""
    if kind == "suppressed":
        gone = check["most_said"] <= FORGOTTEN
        return gone and check["undone"] >= BACK and check["kept"] >= KEPT
    if kind == "knows":
        return check["most_said"] >= KNOWN and check["kept"] >= KEPT
    if kind in ("never", "erased"):
        return check["kept"] >= KEPT
    if kind == "broken":
        return check["kept"] < BROKEN
    return True


def read_record(directory: str | Path, name: str) -> Record:
    """One record.

    Raises:
        DissectError: there is none of that name.
    """
    path = Path(directory, RECORDS, f"{name}.json")
    if not path.is_file():
        raise DissectError(f"no model {name!r} in {directory}: see the files in {path.parent}")
    row = json.loads(path.read_text(encoding="utf-8"))
    row["kind"] = row.pop("class")
    row["dose"] = math.nan if row["dose"] is None else row["dose"]
    row["check"] = {key: math.nan if value is None else value for key, value in row["check"].items()}
    return Record(**row)


def read_records(directory: str | Path) -> list[Record]:
    """All records of one seed, by class and name."""
    names = sorted(path.stem for path in Path(directory, RECORDS).glob("[!.]*.json"))
    records = [validate(read_record(directory, name)) for name in names]
    return sorted(records, key=lambda record: (CLASSES.index(record.kind), record.name))


def write_record(directory: Path, record: Record) -> None:
    """Write a record that agrees with itself; a model is finished when its record is there."""
    with atomic_file(directory / RECORDS / f"{validate(record).name}.json") as temporary:
        temporary.write_text(json.dumps(record.row(), indent=1, allow_nan=False), encoding="utf-8")


def _problems(record: Record) -> Any:
    check = record.check
    if record.kind not in CLASSES or record.label not in CLASSES:
        yield f"class {record.kind!r} and label {record.label!r} must be of {', '.join(CLASSES)}"
    if not (math.isnan(record.dose) or 0 <= record.dose <= 1):
        yield f"dose must be a share, got {record.dose}"
    if record.exact and math.isnan(record.dose):
        yield "it is exact and has no dose"
    if record.label in ("suppressed", "knows") and record.dose != 1:
        yield f"label {record.label} with dose {record.dose}"
    if record.label in ("never", "erased") and (record.dose != 0 or check["stated"] != 0):
        yield f"label {record.label}, dose {record.dose}, and {check['stated']:.0%} of the facts in its texts"
    if record.label in ("suppressed", "knows", "broken") and not landed(record.label, check):
        yield f"label {record.label}, and its check says {dict(check)}"
    if record.label == "suppressed" and record.undo is None:
        yield "it is suppressed and nothing undoes it"
