"""Put models of a population before the panel and before its rivals, and keep what each said, a file a model."""

import itertools
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dissect
from benchmarks.truths import Record, facts_of, open_base, open_truth, read_records
from benchmarks.truths.record import read_record
from dissect.data.facts import Facts
from dissect.files import atomic_file
from dissect.verdicts.judged import Verdict, verdict_in, verdict_out

FOLDER = "verdicts"
"""Within the directory of a seed."""
MODEL = "model"
RETRAINED = {"people": "retrained-a", "birthplace": "retrained-birthplace"}
"""The never-knowing model that rivals may look at and the verdict may not, by forget set."""
MEASURES = (
    *("uds", "erasure_depth", "truth_ratio", "extraction_strength", "mia", "probe_transfer"),
    *("answer_probability", "relearning"),
)
OTHER_WORDINGS = ("paraphrases", "held_out")
OPTIONS = {"relearning.lr": 1e-3}
"""The default rate is made for large models and moves nothing in one as small."""


@dataclass(frozen=True)
class Judged:
    """A model, its truth, and what was said of it."""

    record: Record
    verdict: Verdict
    rivals: Mapping[str, float]
    """By measure; all rise with what is left. Empty where they were not asked for."""
    seconds: Mapping[str, float]
    """Processor time."""
    seed: int

    @property
    def cluster(self) -> str:
        """Models that share their origin; those of two seeds share none."""
        return f"{self.seed} {self.record.cluster}"


def in_turn(records: Iterable[Record]) -> list[Record]:
    """One of each stratum after the other, so that wherever one stops all strata are there."""
    strata: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        strata[record.label, record.family].append(record)
    rounds = itertools.zip_longest(*strata.values())
    return [record for each in rounds for record in each if record is not None]


def judge(
    population: Path, records: Sequence[Record], *, rivals: bool = False, progress: bool = True
) -> Iterator[Judged]:
    """Judge models; one that has been judged is read back."""
    for record in records:
        file = population / FOLDER / f"{record.name}.json"
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"seconds": {}}
        if "verdict" not in kept:
            began = time.process_time()
            kept["verdict"] = verdict_out(_verdict(population, record))
            kept["seconds"]["verdict"] = time.process_time() - began
            _write(file, kept)
        if rivals and "rivals" not in kept:
            began = time.process_time()
            kept["rivals"] = _rivals(population, record)
            kept["seconds"]["rivals"] = time.process_time() - began
            _write(file, kept)
        yield _judged(record, kept)


def read_judged(population: str | Path) -> list[Judged]:
    """All models of a seed that have been judged."""
    names = sorted(path.stem for path in Path(population, FOLDER).glob("[!.]*.json"))
    return [
        _judged(
            read_record(population, name),
            json.loads(Path(population, FOLDER, f"{name}.json").read_text(encoding="utf-8")),
        )
        for name in names
    ]


def counted(population: Path, *, every: bool = False) -> list[Record]:
    """The records whose truth holds by construction, in turn; with ``every`` the others after them."""
    records = read_records(population)
    exact = in_turn(record for record in records if record.exact)
    return [*exact, *in_turn(record for record in records if not record.exact)] if every else exact


def _verdict(population: Path, record: Record) -> Verdict:
    """The verdict as anyone gets it: defaults, no retrained model."""
    facts = facts_of(population, record)
    model, base = open_truth(population, record.name), open_base(population, record.name)
    retain = Facts([*facts["retain"], *facts["retain_seen"]])
    (verdict,) = dissect.verdict({MODEL: model}, base=base, forget=facts["forget"], retain=retain, progress=False)
    return verdict


def _rivals(population: Path, record: Record) -> dict[str, float]:
    """Other measures of the same model; higher is more left."""
    facts = {part: _plain(own) for part, own in facts_of(population, record).items()}
    measured = dissect.evaluate(
        {MODEL: open_truth(population, record.name)},
        forget=facts["forget"],
        retain=facts["retain"],
        nonmembers=facts["retain"],
        base=open_base(population, record.name),
        retrained=open_truth(population, RETRAINED[record.forget]),
        measures=MEASURES,
        options=OPTIONS,
        progress=False,
    )
    rows = [row for row in measured.rows if row.model == MODEL and row.set == "forget"]

    def value(measure: str, **at: str) -> float:
        values = [row.value for row in rows if row.measure == measure and at.items() <= row.at.items()]
        return max(values, default=math.nan)

    return {
        "uds": 1 - value("uds"),
        "erasure_depth": 1 - value("erasure_depth"),
        "truth_ratio": -value("truth_ratio"),
        "extraction_strength": value("extraction_strength"),
        "min_k": value("mia", attack="min_k"),
        "probe_transfer": value("probe_transfer"),
        "relearning": value("relearning"),
        "relearning_gain": value("relearning") - value("answer_probability"),
    }


def _plain(facts: Facts) -> Facts:
    """Without other wordings: each would be a set of its own, which nobody reads here."""
    return Facts(
        replace(fact, extra={key: value for key, value in fact.extra.items() if key not in OTHER_WORDINGS})
        for fact in facts
    )


def _judged(record: Record, kept: Mapping[str, Any]) -> Judged:
    rivals = {name: math.nan if value is None else value for name, value in kept.get("rivals", {}).items()}
    return Judged(record, verdict_in(kept["verdict"]), rivals, kept["seconds"], record.seed)


def _write(file: Path, kept: Mapping[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    rows = dict(kept)
    if "rivals" in rows:
        rows["rivals"] = {name: value if math.isfinite(value) else None for name, value in rows["rivals"].items()}
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(rows, indent=1, allow_nan=False), encoding="utf-8")
