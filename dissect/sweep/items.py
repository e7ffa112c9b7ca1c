"""Work that comes in a few long items with names: checkpoints to measure, models to train."""

from collections.abc import Callable, Mapping

from dissect.sweep.journal import Row
from dissect.sweep.journals import Journals, Missing


class Items:
    """Items that processes share, dealt like cards; what each gave stands in the journals."""

    def __init__(self, journals: Journals, names: Mapping[str, str]) -> None:
        """``names`` are what messages call the items, by their keys in the journals; all processes have the same."""
        self._journals, self._names = journals, dict(names)

    def each(self, compute: Callable[[str], Row]) -> dict[str, Row]:
        """What each item gave, by key, ``compute`` being called with the keys of this process's own.

        Raises:
            Unfinished: other tasks of a job array have not done theirs yet.
            JobError: another rank shows no sign of life.
        """
        journals = self._journals
        for key, owner in self._owners().items():
            if owner == journals.task.number and not journals.rows(key):
                with journals.at_work():
                    row = compute(key)
                journals.write(key, 0, row)
        journals.gather(self._missing)
        return {key: journals.rows(key)[0] for key in self._names}

    def _owners(self) -> dict[str, int]:
        return {key: number % self._journals.task.count for number, key in enumerate(self._names)}

    def _missing(self) -> Missing:
        found: dict[int, list[str]] = {}
        for key, owner in self._owners().items():
            if not self._journals.rows(key):
                found.setdefault(owner, []).append(self._names[key])
        return found
