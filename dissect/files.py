"""Writing files and directories so that a failure never leaves half of one behind."""

import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dissect.change_places import exchange
from dissect.errors import DissectError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

CHECKPOINT_MARK = "config.json"
"""A directory that holds it is a checkpoint, which may be replaced if that is asked for."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the final name only if the body succeeds.

    The temporary name keeps the suffix of ``path``, because writers choose their format by it.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.stem}-", suffix=final.suffix)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; a result is an ordinary one
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; it takes the final name only if the body succeeds.

    Old and new change places in one step where the system can do that (Linux), so that ``path`` is never without one
    of them. Elsewhere a process that is killed between two renames leaves the old one under a hidden name, and
    `clear_leftovers` puts it back. A link to a directory stays one; what it leads to is replaced.

    Raises:
        DissectError: ``path`` exists and is not an empty directory, and ``overwrite`` is false.
    """
    check_new_directory(path, overwrite=overwrite)
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
    os.chmod(temporary, 0o777 & ~_umask())
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():  # some writers make private files; a result is an ordinary one
                file.chmod(0o666 & ~_umask())
        if final.exists() and not exchange(temporary, final):
            old = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-old-"))
            os.replace(final, old)  # killed here, the old one is under this name: `clear_leftovers` puts it back
            os.replace(temporary, final)
            shutil.rmtree(old)
        elif not final.exists():
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what an ``atomic_directory`` for ``path`` left that was killed; nobody else may be writing it.

    Where it was killed with the old directory out of the way and the new one not yet in its place, the old one is put
    back.
    """
    final = Path(os.path.realpath(path))
    for left in final.parent.glob(f".{glob.escape(final.name)}-*"):
        match = re.fullmatch(r"(old-)?[a-z0-9_]{8}", left.name.removeprefix(f".{final.name}-"))
        if match is None or not left.is_dir():
            continue
        if match[1] and not final.exists() and any(left.iterdir()):
            os.replace(left, final)
        else:
            shutil.rmtree(left, ignore_errors=True)


def check_new_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a directory that already holds something: asked early, before hours of work go into its contents.

    With ``overwrite`` a checkpoint may be replaced, and nothing else.
    """
    final = Path(path)
    if final.exists() and not final.is_dir():
        raise DissectError(f"{final} is a file, a directory is needed: choose another name")
    if not final.is_dir() or not any(final.iterdir()):
        return
    if not overwrite:
        raise DissectError(f"{final} exists and is not empty: choose another name or ask for overwriting")
    if not (final / CHECKPOINT_MARK).is_file():
        raise DissectError(f"{final} holds other things than a checkpoint: it is not overwritten, choose another name")


def lock(file: IO[Any]) -> bool:
    """Hold an open file until it is closed or the process ends; False where another process holds it.

    True as well where the system or the file system has no such locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
