"""Locks on files and directories, which end with the process that holds them, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]


def lock(file: IO[Any]) -> bool:
    """Hold an open file until it is closed or the process ends; False where another process holds it.

    True as well where the system or the file system has no such locks.
    """
    return held(file.fileno()) is not False


def held(handle: int) -> bool | None:
    """Hold what is open as ``handle``; False where another process holds it, None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def in_turn(path: str | os.PathLike[str]) -> Iterator[None]:
    """Processes enter the body one after the other, where the file system has locks; ``path`` is a file for them."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a") as file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
