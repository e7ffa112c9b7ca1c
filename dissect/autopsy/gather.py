"""Computing the results of a report, step by step; what a folder holds already is not computed again.

Processes share each step, as its own function does, and begin the next together; steps that cannot be shared come
last, each run by one process. How a step ended is kept in a journal until all steps are through.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dissect.autopsy.results import ABOUT_FILE, Results, read_about, write_about
from dissect.autopsy.settings import ReportSettings
from dissect.autopsy.step_inputs import StepInputs
from dissect.autopsy.steps import STEPS, chosen_steps
from dissect.data.chat.chat_settings import as_chat
from dissect.data.facts import Facts
from dissect.differences import first_difference
from dissect.distributed import is_main
from dissect.errors import DissectError, JobError, Unfinished
from dissect.evaluation.sets import fingerprint
from dissect.evaluation.templates import chat_templates
from dissect.jobs.items import Items
from dissect.jobs.journal import JournalRow, key_of
from dissect.jobs.journals import Journals
from dissect.jobs.shared_journals import journals_of, replica_of
from dissect.jobs.task import task_of
from dissect.models.pair import ModelPair
from dissect.provenance import versions

log = logging.getLogger(__name__)


def gather(
    pair: ModelPair,
    sets: Mapping[str, Facts],
    folder: Path,
    settings: ReportSettings,
    *,
    command: str = "",
    task: str | None = None,
    verdict: Path | None = None,
    verdict_named: bool = False,
    save: Callable[[Results], object] = lambda results: None,
    progress: bool = True,
) -> Results:
    """Compute every step that ``folder`` lacks, and read them all; one process calls ``save`` with them.

    Raises:
        DissectError: an unknown step, or a folder of other checkpoints, facts or settings. A step that is not defined
            for this pair is noted with its reason, and the others run.
        Unfinished: this task of a job array has done its part, and others have not.
    """
    steps = chosen_steps(settings.steps)
    about = _about(pair, sets, settings, command)
    before = read_about(folder)
    if before is not None and (other := first_difference(before["identity"], about["identity"], ignored=_is_path)):
        raise DissectError(
            f"{folder} holds a report of other checkpoints, facts or settings ({other}): choose another folder or "
            "delete it"
        )
    about = {**about, "missing": {}, "seconds": {}, **{k: before[k] for k in ("missing", "seconds") if before}}
    part_of_job = task_of(task, replica_of(pair.base))
    if before is None and part_of_job.merges:
        write_about(folder, about)
    inputs = StepInputs(
        pair, sets, settings, task, progress and is_main(), verdict=verdict, verdict_named=verdict_named
    )
    with journals_of(pair.base, folder / ABOUT_FILE, key_of(about["identity"]), part_of_job) as journals:
        runner = _StepRunner(inputs, folder, about, journals)
        runner.run(steps)

        def finish() -> None:
            write_about(folder, runner.about)
            save(Results.read(folder))

        journals.finish(finish)
    return Results.read(folder)


class _StepRunner:
    """Runs the steps, and notes how each ended."""

    def __init__(self, inputs: StepInputs, folder: Path, about: dict[str, Any], journals: Journals) -> None:
        self._inputs, self._folder, self._about, self._journals = inputs, folder, about, journals

    @property
    def about(self) -> dict[str, Any]:
        """Description of the report, with how each step has ended so far."""
        rows = {step: rows[0] for step in STEPS if (rows := self._journals.rows(step))}
        missing = {step: row["missing"] for step, row in rows.items() if row["missing"] is not None}
        seconds = {step: row["seconds"] for step, row in rows.items() if row["seconds"] is not None}
        return self._about | {
            "missing": self._about["missing"] | missing,
            "seconds": self._about["seconds"] | seconds,
        }

    def run(self, steps: Sequence[str]) -> None:
        """Run what is this process's to do.

        Raises:
            Unfinished: other tasks of a job array have not done their part of a step yet.
        """
        alone = [step for step in steps if not STEPS[step].shared and self._journals.task.count > 1]
        lacking = [step for step in steps if step not in alone and not self._finished(step)]
        try:
            Items(self._journals).each({step: step for step in alone}, self._row)
        except Unfinished:
            if not (lacking or all(self._is_done(step) for step in steps)):  # a task that runs again has nothing to do
                raise
        if lacking:
            raise Unfinished(
                f"{self._journals.task.name} has done its part of {self._folder}; not finished yet: "
                f"{', '.join(lacking)}: run the other tasks, or the same without a task, which does what is missing"
            )

    def _finished(self, step: str) -> bool:
        """Do this process's part of a step, and return whether all of the step is finished."""
        try:
            row = self._row(step)
        except Unfinished:  # unless another task was quicker to put it together
            return self._file(step).is_file()
        self._journals.write(step, 0, row)
        if self._journals.task.count == 1:
            write_about(self._folder, self.about)
        return True

    def _row(self, step: str) -> JournalRow:
        """Compute a step, unless it is done; return why it has no result, and its seconds."""
        if self._is_done(step):
            return {key: self.about[key].get(step) for key in ("missing", "seconds")}
        started, reason = time.perf_counter(), None
        try:
            STEPS[step].compute(self._inputs, self._file(step))
        except JobError:
            raise
        except DissectError as error:
            log.info("%s: %s", step, error)
            reason = str(error)
        return {"missing": reason, "seconds": round(time.perf_counter() - started, 1)}

    def _is_done(self, step: str) -> bool:
        """Return whether the step needs no work. Ranks that still have it open wait for this one to join."""
        if step in self.about["missing"]:
            return True
        file = self._file(step)
        return file.is_file() and not (self._journals.task.together and any(self._folder.glob(f"{file.name}.partial*")))

    def _file(self, step: str) -> Path:
        return self._folder / STEPS[step].file


def _about(pair: ModelPair, sets: Mapping[str, Facts], settings: ReportSettings, command: str) -> dict[str, Any]:
    identity = {
        "checkpoints": pair.provenance(),
        "facts": {name: fingerprint(facts) for name, facts in sets.items()},
        "settings": settings.to_dict() | {"steps": None},
    }
    if (chat := as_chat(settings.chat)) is not None:
        identity["chat_templates"] = chat_templates(pair.models(), chat, say=False)
    identity["settings"]["steps"] = None  # more steps may be computed later
    cfg = pair.base.cfg
    return {
        "identity": _plain(identity),
        "n_facts": {name: len(facts) for name, facts in sets.items()},
        "model": {
            "architecture": cfg.original_architecture,
            "n_layers": cfg.n_layers,
            "d_model": cfg.d_model,
            "n_heads": cfg.n_heads,
            "dtype": str(cfg.dtype).removeprefix("torch."),
        },
        "window": settings.window_of(cfg.n_layers),
        "command": command,
        "versions": versions(),
    }


def _is_path(key: str) -> bool:
    """Return whether a key says where a checkpoint lies, which does not matter."""
    return key.endswith("_path")


def _plain(value: Any) -> Any:
    """Return a value as JSON would give it back, so that it compares equal to one that was read."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
