"""An evaluation kept checkpoint by checkpoint until all are measured, by one process or several."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation, joined
from dissect.evaluation.sources import CheckpointSource, signature, weights
from dissect.jobs.items import Items
from dissect.jobs.journal import key_of
from dissect.jobs.shared_journals import journals_of
from dissect.jobs.task import Task
from dissect.models.sharding.sharded import is_sharded
from dissect.sweep.sweep import check_out


def check_shared(
    sources: Iterable[CheckpointSource | None], out: str | os.PathLike[str] | None, task: str | None, *, overwrite: bool
) -> Task:
    """Return which task this process is, and check that the result may be written.

    Raises:
        DissectError: no such task, no file for its part, another suffix than ``.json``, or a file that exists.
    """
    if out is not None and Path(out).suffix.lower() != ".json":
        raise DissectError(f"the file must end in .json, got {Path(out).name!r}: an evaluation is written as JSON")
    return check_out(_sharded(sources), out, task, overwrite=overwrite)


def shared(
    sources: Mapping[str, CheckpointSource],
    measure: Callable[[str], Evaluation],
    *,
    out: str | os.PathLike[str],
    spec: Mapping[str, Any],
    task: Task,
) -> Evaluation:
    """Measure this process's checkpoints, wait for those of others, and write all to ``out``, once.

    Raises:
        Unfinished: other tasks of a job array have not measured theirs yet.
        JobError: another rank died, or ``out`` was begun in another way.
    """
    names = {_mark(name, source): name for name, source in sources.items()}
    with journals_of(_sharded(sources.values()), out, key_of(spec), task) as journals:
        rows = Items(journals).each(names, lambda mark: {"part": measure(names[mark]).to_dict()})
        whole = joined([Evaluation.from_dict(row["part"]) for row in rows.values()])
        journals.finish(lambda: whole.save(out))
    return whole


def _mark(name: str, source: CheckpointSource) -> str:
    """Return a mark of the checkpoint as it is now, so that one of the same name is not taken for it."""
    held = weights(source) if isinstance(source, HookedTransformer) else signature(source) or str(source)
    return f"{name} {hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]}"


def _sharded(sources: Iterable[CheckpointSource | None]) -> HookedTransformer | None:
    """Return a model that ranks share, if there is one: they measure it together."""
    return next((each for each in sources if isinstance(each, HookedTransformer) and is_sharded(each)), None)
