"""Changes that are undone exactly, whenever Ctrl-C comes: the one mechanism behind every context of the library.

The undoing is registered before the doing. Ctrl-C waits while a change is being undone, and where it comes between the
doing and the body, what was done is undone first. Python's own ``contextmanager``, ``ExitStack`` and torch's
``no_grad`` promise neither: one Ctrl-C within their few lines leaves weights swapped or gradients switched off for the
rest of a session.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import FrameType
from typing import Any, Generic, ParamSpec, TypeVar, no_type_check

import torch

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")


class Change(AbstractContextManager[Value], Generic[Value]):
    """Does something on entering, and undoes it when the body ends or anything is raised.

    Where the doing does not come to its end, torch's gradient mode is put back as well.
    """

    def __init__(
        self, value: Value, do: Callable[[], object], undo: Callable[[], object], *, at_once: bool = False
    ) -> None:
        """``undo`` is also called where ``do`` did not come to its end.

        Args:
            at_once: Ctrl-C waits until ``do`` is done: for what takes no time and has no half.
        """
        self._value, self.do, self.undo, self._at_once = value, do, undo, at_once
        self._before: Any = None
        """Handler of Ctrl-C until now; None where this thread does not get it, or nothing of Python's handles it."""
        self._begun = self._doing = self._interrupted = False

    @no_type_check  # tests wrap what is checked in a function, and Ctrl-C in that one would not be seen to be in here
    def __enter__(self) -> Value:
        """Change; the value is what the body gets."""
        gradients = torch.is_grad_enabled()
        try:
            self._begun = True
            self._handle()
            try:
                self._doing = not self._at_once
                value = self._enter()
            finally:
                self._doing = False
            self._tell()
            return value
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__, gradients=gradients)
            raise

    @no_type_check
    def __exit__(self, *raised: Any, gradients: bool | None = None) -> bool | None:
        """Undo, once: leaving what was not entered, or was left, does nothing."""
        if not self._begun:
            return None
        self._begun = False
        try:
            caught = self._leave(*raised)
        finally:
            if gradients is not None:
                torch.set_grad_enabled(gradients)
            # == : a method is another object each time. Whose handler took the place of this one keeps it
            if self._before is not None and signal.getsignal(signal.SIGINT) == self._interrupt:
                signal.signal(signal.SIGINT, self._before)
        self._tell()
        return caught

    def _enter(self) -> Value:
        self.do()
        return self._value

    def _leave(self, *raised: Any) -> bool | None:
        self.undo()
        return None

    def _handle(self) -> None:
        """Have Ctrl-C come here first."""
        self._before, self._interrupted = None, False
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Call the earlier handler; wait where this would come between doing and body, or interrupt the undoing."""
        within = frame
        while within is not None:
            if within.f_code in _WAITING and within.f_locals.get("self") is self:
                if not self._doing:
                    self._interrupted = True
                    return
                self._doing = False  # what comes next is the undoing
                break
            within = within.f_back
        self._before(number, frame)

    def _tell(self) -> None:
        """Interrupt now, where that had to wait."""
        if self._interrupted:
            self._interrupted = False
            self._before(signal.SIGINT, sys._getframe())


_WAITING = (Change.__enter__.__code__, Change.__exit__.__code__)


class _Generated(Change[Value]):
    """A generator's part before its ``yield``, and after it."""

    def __init__(self, context: AbstractContextManager[Value], at_once: bool) -> None:
        super().__init__(None, _nothing, _nothing, at_once=at_once)  # type: ignore[arg-type]
        self._context = context

    def _enter(self) -> Value:
        return self._context.__enter__()

    def _leave(self, *raised: Any) -> bool | None:
        return self._context.__exit__(*raised)


class _Together(Change[None]):
    """Several changes, undone in reverse order."""

    def __init__(self, changes: Iterable[AbstractContextManager[Any]]) -> None:
        super().__init__(None, _nothing, _nothing)
        self._changes, self._entered = changes, list[AbstractContextManager[Any]]()

    def _enter(self) -> None:
        for change in self._changes:
            if isinstance(change, Change):
                self._entered.append(change)  # before it is entered: one that was not does nothing when it is left
                change.__enter__()
            else:
                change.__enter__()
                self._entered.append(change)

    def _leave(self, *raised: Any) -> bool | None:
        failed: BaseException | None = None
        while self._entered:
            try:
                self._entered.pop().__exit__(*raised)
            except BaseException as error:  # the others are undone all the same
                failed = error
        if failed is not None:
            raise failed
        return None


def together(changes: Iterable[AbstractContextManager[Any]]) -> Change[None]:
    """All ``changes`` in the body, made one after another; what ``ExitStack`` does, without its gaps.

    A context that is no `Change` may take part, with the gaps that it has itself.
    """
    return _Together(changes)


def undone(
    function: Callable[Arguments, Iterator[Value]],
) -> Callable[Arguments, Change[Value]]:
    """Make a context of a generator function, as ``contextmanager`` does, that Ctrl-C leaves no half of.

    Ctrl-C waits while the part before the ``yield`` runs, and while the part after it does.
    """
    return _of_generator(function, at_once=True)


def undone_later(
    function: Callable[Arguments, Iterator[Value]],
) -> Callable[Arguments, Change[Value]]:
    """``undone`` for what takes long before its ``yield``, which Ctrl-C ends: all of that stands in the ``try``."""
    return _of_generator(function, at_once=False)


def _of_generator(
    function: Callable[Arguments, Iterator[Value]], *, at_once: bool
) -> Callable[Arguments, Change[Value]]:
    context = contextmanager(function)

    @wraps(function)
    def change(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Change[Value]:
        return _Generated(context(*args, **kwargs), at_once)

    return change


def _nothing() -> None:
    """Neither do nor undo anything."""
