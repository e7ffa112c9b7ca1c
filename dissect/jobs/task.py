"""Several processes, one job: who does what of it.

The processes are the ranks of `torchrun`, which run at the same time, or the tasks of a job array, which run whenever
the cluster lets them. In both, what each one does follows from its number alone, so nobody has to be asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from dissect.distributed import World, world
from dissect.errors import DissectError

Item = TypeVar("Item")
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@dataclass(frozen=True)
class Task:
    """One of the processes that share a job."""

    number: int = 0
    """Number of the task, from 0."""
    count: int = 1
    together: bool = False
    """True if all of them run now and wait for each other, as ranks do."""
    ranks: int = 1
    """Number of processes of each task of a job array."""

    @property
    def merges(self) -> bool:
        """True if it writes the result, if it finds the work done: rank 0, or whichever task comes last."""
        return not self.together or self.number == 0

    @property
    def name(self) -> str:
        """Name of this task in a message."""
        return self.name_of(self.number)

    def name_of(self, number: int) -> str:
        """Name of another task in a message."""
        if self.together:
            return f"rank {number}"
        task, rank = divmod(number, self.ranks)
        return f"task {task + 1}/{self.count // self.ranks}" + (f" (rank {rank})" if self.ranks > 1 else "")


def task_of(text: str | None = None, here: World | None = None) -> Task:
    """This process's task: ``"3/8"`` of a job array, else its rank, else the whole.

    A task of several ranks deals its part on to them.

    Args:
        here: what deals like a rank, if not every rank does: ranks that hold one sharded model do the same cells.

    Raises:
        DissectError: no such task.
    """
    if _ALONE.get():
        return Task()
    here = world() if here is None else here
    if text is None:
        return Task(here.rank, here.size, together=here.size > 1)
    number, slash, count = (part.strip() for part in str(text).partition("/"))
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise DissectError(f"task {text!r}: give number/count, such as 3/8 for the third of eight, from 1/8 to 8/8")
    return Task((int(number) - 1) * here.size + here.rank, int(count) * here.size, ranks=here.size)


@contextmanager
def alone() -> Iterator[None]:
    """In the body this process shares nothing: it does a part that is its own already."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def dealt(items: Iterable[Item], task: Task | None = None) -> list[Item]:
    """The items that are this process's to do: every n-th one, where n processes share them."""
    task = task_of() if task is None else task
    return list(items)[task.number :: task.count]


def deal(batches: Sequence[int], units: Sequence[float], count: int) -> list[list[int]]:
    """Who does what where every batch has the same units: for each batch, the owner of each unit.

    Beginning a batch costs every owner the passes that its units share, so owners get runs of batches, and only the
    batches at the ends of a run are cut, by units of about equal cost in sum.

    Args:
        batches: size of each batch, in tokens for instance.
        units: cost of each unit, in any measure.
        count: owners, numbered from 0.
    """
    total, end, owners = sum(batches), 0, []
    for size in batches:
        start, end = end, end + size
        # owner r holds the stretch from r · total / count on; in whole numbers, so that all agree
        held = {
            owner: min((owner + 1) * total, end * count) - max(owner * total, start * count) for owner in range(count)
        }
        owners.append(_balanced(units, {owner: share for owner, share in held.items() if share > 0}))
    return owners


def _balanced(units: Sequence[float], shares: dict[int, int]) -> list[int]:
    """An owner for each unit, the loads as the shares: the largest unit first, to whom it burdens least."""
    loads, owners = dict.fromkeys(shares, 0.0), [0] * len(units)
    for unit in sorted(range(len(units)), key=lambda unit: -units[unit]):
        owner = min(shares, key=lambda one: (loads[one] + units[unit]) / shares[one])
        loads[owner] += units[unit]
        owners[unit] = owner
    return owners
