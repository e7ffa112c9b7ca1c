"""Work that comes in a few long items with names: checkpoints to measure, models to train."""

from collections.abc import Callable, Mapping
from functools import partial

from dissect.jobs.journal import JournalRow
from dissect.jobs.journals import Journals, Missing
from dissect.jobs.task import alone


class Items:
    """Items that processes share, dealt like cards; what each gave stands in the journals.

    All processes take the same items in the same order.
    """

    def __init__(self, journals: Journals) -> None:
        self._journals = journals
        self._owners: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def take(self, key: str, name: str, compute: Callable[[], JournalRow]) -> None:
        """The next item, computed if it is this process's and not finished yet.

        Args:
            key: tells it from all others, in an earlier job too.
            name: what messages call it.
            compute: is called as in a process of its own: what it does in turn is not shared.
        """
        if key in self._owners:
            return
        owner = len(self._owners) % self._journals.task.count
        self._owners[key], self._names[key] = owner, name
        if owner == self._journals.task.number and not self._journals.rows(key):
            with self._journals.at_work(), alone():
                row = compute()
            self._journals.write(key, 0, row)

    def gather(self) -> dict[str, JournalRow]:
        """Results of the items, by key.

        Raises:
            Unfinished: other tasks of a job array have not done theirs yet.
            JobError: another rank shows no sign of life.
        """
        self._journals.gather(self._missing)
        return {key: self._journals.rows(key)[0] for key in self._owners}

    def each(self, names: Mapping[str, str], compute: Callable[[str], JournalRow]) -> dict[str, JournalRow]:
        """Run items that are known beforehand (names by key) and return their results by key.

        Raises:
            Unfinished, JobError: as ``gather``.
        """
        for key, name in names.items():
            self.take(key, name, partial(compute, key))
        return self.gather()

    def _missing(self) -> Missing:
        names: dict[int, list[str]] = {}
        for key, owner in self._owners.items():
            if not self._journals.rows(key):
                names.setdefault(owner, []).append(self._names[key])
        return names
