"""A change of a model for the time of a block of code, undone exactly, whenever Ctrl-C comes."""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Generic, TypeVar, no_type_check

Value = TypeVar("Value")


class Change(AbstractContextManager[Value], Generic[Value]):
    """Does something on entering, and undoes it when the body ends or anything is raised.

    A generator with ``finally`` does not see a Ctrl-C that comes between its ``yield`` and the body, one that comes
    when it is left and before its ``finally``, and one in the middle of that ends it half done. Here what is raised on
    entering is caught, and a Ctrl-C on leaving is raised when the undoing is done.
    """

    def __init__(self, value: Value, do: Callable[[], object], undo: Callable[[], object]) -> None:
        """``undo`` is also called where ``do`` did not come to its end."""
        self._value, self.do, self.undo = value, do, undo
        self._before: Any = None
        """What handled Ctrl-C until now; None where this thread does not get it, or nothing of Python's handles it."""
        self._interrupted = False

    def __enter__(self) -> Value:
        """Change; the value is what the body gets."""
        self._before, self._interrupted = None, False
        try:
            self._handle()
            self.do()
            return self._value
        except BaseException:
            self.__exit__()
            raise

    @no_type_check  # tests wrap what is checked in a function, and Ctrl-C in that one would not be seen to be in here
    def __exit__(self, *_: Any) -> None:
        """Undo."""
        try:
            self.undo()
        finally:
            # == : a method is another object each time. Whose handler took the place of this one keeps it
            if self._before is not None and signal.getsignal(signal.SIGINT) == self._interrupt:
                signal.signal(signal.SIGINT, self._before)
        if self._interrupted:
            self._before(signal.SIGINT, None)

    def _handle(self) -> None:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """As before, but later where it would interrupt the undoing."""
        within = frame
        while within is not None:
            if within.f_code is Change.__exit__.__code__ and within.f_locals.get("self") is self:
                self._interrupted = True
                return
            within = within.f_back
        self._before(number, frame)
