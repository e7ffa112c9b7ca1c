"""The journals of a sweep where several ranks hold one model: they compute the same rows, and one of them writes.

What is finished has to look the same to all of them, or one would run a cell that the others pass over, and wait for
them for ever. The rank that writes reads the files and tells the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformer_lens import HookedTransformer

from dissect.distributed import World, tell
from dissect.jobs.journal import BatchKey, JournalRow
from dissect.jobs.journals import Journals, Missing
from dissect.jobs.task import Task
from dissect.models.sharding.sharded import Sharding, is_sharded

_WAITING = "waiting"


def replica_of(model: HookedTransformer | None) -> World | None:
    """Return the copy of a sharded model that this rank belongs to: copies share a sweep as ranks do otherwise."""
    return model.sharding.replica if model is not None and is_sharded(model) else None


def journals_of(model: HookedTransformer | None, out: str | os.PathLike[str], key: str, task: Task) -> Journals:
    """The journals of a sweep on ``model``; collective where it is sharded.

    Raises:
        DissectError: as ``Journals``, on all ranks of a copy.
    """
    if model is None or not is_sharded(model):
        return Journals(out, key, task)
    return SharedJournals(model.sharding, out, key, task)


class SharedJournals(Journals):
    """Those of one copy of a sharded model; every method is called by all of its ranks."""

    def __init__(self, sharding: Sharding, out: str | os.PathLike[str], key: str, task: Task) -> None:
        self._sharding = sharding
        self.task, self._taken_over = task, []
        self._by_leader(lambda: super(SharedJournals, self).__init__(out, key, task))
        self._share_rows()

    def write(self, batch: BatchKey, index: int, row: JournalRow) -> None:
        """Add a row that this copy finished."""
        if self._sharding.leads:
            super().write(batch, index, row)
        else:
            self._rows.setdefault(batch, {})[index] = row

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Return ``Journals.at_work`` of the rank that writes."""
        if not self._sharding.leads:
            yield
            return
        with super().at_work():
            yield

    def gather(self, missing: Callable[[], Missing]) -> None:
        """Have the rows of all copies."""
        self._by_leader(lambda: super(SharedJournals, self).gather(missing))
        self._share_rows()

    def finish(self, save: Callable[[], object]) -> None:
        """Write the result, once."""
        self._by_leader(lambda: super(SharedJournals, self).finish(save))

    def __exit__(self, *_: object) -> None:
        if self._sharding.leads:
            super().__exit__(*_)

    def _looks(self) -> Iterator[bool]:
        for stuck in super()._looks():
            self._tell(_WAITING)  # so that the others do not take it for dead while another copy is at work
            yield stuck

    def _share_rows(self) -> None:
        self._rows = self._tell(self._rows if self._sharding.leads else None)

    def _by_leader(self, act: Callable[[], None]) -> None:
        """Let the rank that writes do something, while the others wait; its error is everyone's."""
        if not self._sharding.leads:
            while (said := self._tell(None)) == _WAITING:
                pass
            if said is not None:
                raise said
            return
        try:
            act()
        except Exception as error:
            self._tell(error)
            raise
        self._tell(None)

    def _tell(self, value: Any) -> Any:
        return tell(value, self._sharding.over)
