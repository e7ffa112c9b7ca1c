"""The journals of all processes that share a sweep: what each finished, and how they come to one result.

Nothing but files: they serve ranks, which run at the same time, and the tasks of a job array, which may not. Every
process writes a journal of its own and reads the others'. Ranks leave together: each says in its journal that it has
read everything, and rank 0, once the result is written and all have said so, removes the journals, for which they wait.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from dissect.distributed import seconds_to_wait
from dissect.errors import JobError, Unfinished
from dissect.jobs.journal import BatchKey, Finished, Journal, JournalRow, OtherWork, Reader
from dissect.jobs.left_journals import is_empty, is_over, journals_beside
from dissect.jobs.task import Task

Owners = Sequence[Sequence[int]]
"""For each batch, the process that owns each row."""
Missing = Mapping[int, Sequence[str]]
"""Owner to the items that it has not finished: names, or empty texts where there are none."""
Item = TypeVar("Item")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two looks at the others' journals."""
_BEAT = 30.0
"""Seconds between two signs of life at most, and always several while others wait."""


class Journals:
    """Finished rows by batch and number, of this process and of all others."""

    def __init__(self, out: str | os.PathLike[str], key: str, task: Task) -> None:
        """Open this process's journal of the sweep ``key``, and read all.

        Raises:
            JobError: a journal of another sweep, or one that another process is using and this one needs.
        """
        self.out, self.task, self._key = Path(out), task, key
        self._rows: Finished = {}
        self._readers: dict[Path, Reader] = {}
        self._gone: set[Path] = set()
        self._taken_over: list[Journal] = []
        try:
            if task.count > 1:  # refused, if they are of other work, before there is a journal of one's own
                self._read()
            if task.count == 1:  # what ranks or tasks left; refused while one of them is at work
                for path in self._others():
                    self._taken_over.append(self._open(path))
            self._own = self._open(self._path(task.number))
            for journal in (*self._taken_over, self._own):
                _add(journal.rows, self._rows)
        except BaseException:
            for journal in self._taken_over:
                journal.close()
            raise
        self._read()

    def section(self, owners: Owners, first: int = 0) -> "JournalSection":
        """The rows of one part of the work, whose batches are counted from ``first`` in the journals."""
        return JournalSection(self, owners, first)

    def rows(self, batch: BatchKey) -> dict[int, JournalRow]:
        """The finished rows of a batch, as far as they were read."""
        return self._rows.get(batch, {})

    def write(self, batch: BatchKey, index: int, row: JournalRow) -> None:
        """Add a row that this process finished."""
        self._rows.setdefault(batch, {})[index] = row
        self._own.write(batch, index, row)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In the body ranks see that this one is at work, however long that takes; it writes nothing else."""
        with self._own.at_work(min(_BEAT, seconds_to_wait() / 5)) if self.task.together else nullcontext():
            yield

    def gather(self, missing: Callable[[], Missing]) -> None:
        """Read the others' journals until nothing is missing; only ranks wait for that.

        Raises:
            Unfinished: other tasks of a job array have not done their part yet.
            JobError: the other ranks made no progress for as long as this one waits.
        """
        for stuck in self._looks():
            lacking = missing()
            if not lacking:
                return
            said = ", ".join(f"{self.task.name_of(owner)} ({_listed(of)})" for owner, of in sorted(lacking.items()))
            if not self.task.together:
                raise self._unfinished(f"{sum(map(len, lacking.values()))} results are missing, of {said}")
            if stuck:
                raise JobError(
                    f"{self.task.name} has waited for {seconds_to_wait():g} s in which no other rank finished anything "
                    f"more: missing are results of {said}: see their output, then run the same again to go on"
                )

    def finish(self, save: Callable[[], object]) -> None:
        """Write the result, once, and remove the journals; ranks return from it when that is done.

        Raises:
            JobError: another rank did not come for as long as this one waits.
        """
        if self.task.merges:
            with self.at_work():
                save()
        self._own.leave()
        if self.task.together:
            self._wait(self._staying if self.task.merges else self._not_done)
        if self.task.merges:
            for path in self._others():
                path.unlink(missing_ok=True)
            self._own.remove()

    def __enter__(self) -> "Journals":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the journals to whoever goes on; one in which nothing is finished is of no use to anybody."""
        if self.task.count == 1 and not any(self._rows.values()) and self._own.path.exists():
            self._own.remove()
        for journal in (self._own, *self._taken_over):
            journal.close()

    def _open(self, path: Path) -> Journal:
        try:
            return Journal(path, self._key)
        except OtherWork:
            if self.task.count > 1 or not (is_over(path, self.out) or is_empty(path)):
                raise
        path.unlink(missing_ok=True)  # killed after its result was there, or before anything was finished
        return Journal(path, self._key)

    def _path(self, number: int) -> Path:
        whole = self.out.with_name(f"{self.out.name}.partial")
        if self.task.count == 1 or (self.task.together and number == 0):
            return whole
        return whole.with_name(f"{whole.name}-{number if self.task.together else number + 1}")

    def _others(self) -> list[Path]:
        own = self._path(self.task.number)
        return [path for path in journals_beside(self.out) if path != own]

    def _read(self) -> int:
        """Read what the others added; a number that changes when they did anything."""
        for path in self._others():
            self._readers.setdefault(path, Reader(path, self._key))
        for path, reader in self._readers.items():
            try:
                reader.read(self._rows)
            except FileNotFoundError:
                self._gone.add(path)
        return sum(reader.offset for reader in self._readers.values()) + len(self._gone)

    def _looks(self) -> Iterator[bool]:
        """Read the others' journals again and again, at longer and longer intervals.

        Yields whether nothing was added to them for as long as this process waits.
        """
        patience, pause = seconds_to_wait(), _FIRST_PAUSE
        state, since = self._read(), time.monotonic()
        while True:
            yield time.monotonic() - since > patience
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            if (now := self._read()) != state:
                state, since = now, time.monotonic()

    def _wait(self, awaited: Callable[[], list[int]]) -> None:
        for stuck in self._looks():
            numbers = awaited()
            if not numbers:
                return
            if stuck:
                names = ", ".join(map(self.task.name_of, numbers))
                raise JobError(
                    f"{self.task.name} has waited for {seconds_to_wait():g} s for {names} at the end of {self.out}: "
                    "see their output"
                )

    def _staying(self) -> list[int]:
        """The other ranks that have not said that they have everything: their journals stay until they have."""
        paths = {number: self._path(number) for number in range(self.task.count) if number != self.task.number}
        return [number for number, path in paths.items() if not (path in self._readers and self._readers[path].left)]

    def _not_done(self) -> list[int]:
        """Rank 0, until it has removed this rank's journal."""
        return [0] if self._own.path.exists() else []

    def _unfinished(self, missing: str) -> Unfinished:
        done = f"{self.task.name} has done its part of {self.out}"
        if self._gone:  # they go once the result is written
            return Unfinished(f"{done}, which another task has put together")
        return Unfinished(f"{done}; {missing}: run those, or the same without a task, which does what is missing")


class JournalSection:
    """One part of the work, a table of rows by batch and number, of which each process has its own to do."""

    def __init__(self, journals: Journals, owners: Owners, first: int) -> None:
        self._journals, self._owners, self._first = journals, owners, first

    def mine(self, batch: int) -> set[int]:
        """The rows of a batch that are this process's to do, finished or not."""
        return {index for index, owner in enumerate(self._owners[batch]) if owner == self._journals.task.number}

    def rows(self, batch: int) -> dict[int, JournalRow]:
        """Those of a batch that are finished, whoever did them."""
        return self._journals.rows(self._first + batch)

    def write(self, batch: int, index: int, row: JournalRow) -> None:
        """Add a row that this process finished."""
        self._journals.write(self._first + batch, index, row)

    def gather(self) -> None:
        """Have the rows of all; see ``Journals.gather``."""
        self._journals.gather(self._missing)

    def each(self, items: Sequence[Item], compute: Callable[[Item], JournalRow]) -> list[JournalRow]:
        """One row for every item, each computed by one of the processes: batches of one row.

        Raises:
            Unfinished: as ``gather``.
        """
        for number, item in enumerate(items):
            if self.mine(number) and not self.rows(number):
                with self._journals.at_work():
                    row = compute(item)
                self.write(number, 0, row)
        self.gather()
        return [self.rows(number)[0] for number in range(len(items))]

    def _missing(self) -> Missing:
        missing: dict[int, list[str]] = {}
        for batch, owners in enumerate(self._owners):
            for index, owner in enumerate(owners):
                if index not in self.rows(batch):
                    missing.setdefault(owner, []).append("")
        return missing


def _listed(missing: Sequence[str]) -> str:
    return ", ".join(filter(None, missing)) or str(len(missing))


def _add(rows: Finished, into: Finished) -> None:
    for batch, new in rows.items():
        into.setdefault(batch, {}).update(new)
