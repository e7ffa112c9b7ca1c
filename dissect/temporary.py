"""Temporary files and directories beside what they will be; what killed processes left of them is cleared by the next.

They carry a mark in their names that nobody else writes, and the process that made one holds a lock on it, which the
system takes away when the process ends. So what bears the mark and can be locked belongs to nobody any more.
"""

import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dissect.locks import held

MARK = "~dissect-"
_OLD = "old-"


@contextmanager
def temporary_beside(final: Path, *, directory: bool = False) -> Iterator[Path]:
    """Yield a new file, or directory, in the directory of ``final``; what is left under its name is removed at the end.

    The name keeps the suffix of a file, because writers choose their format by it.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(final)
    path, handle = _made(final, directory)
    try:
        yield path
    finally:
        remove(path)
        os.close(handle)


def place_for_old(final: Path) -> Path:
    """Return a new empty directory for what is at ``final``: `clear_leftovers` puts back what a killed process left in
    it."""
    return Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}{MARK}{_OLD}"))


def clear_leftovers(final: Path) -> None:
    """Remove what killed processes left of writing ``final``.

    An old version that was out of the way is put back where none stands under the name. Whatever another process
    still works on stays, and where the file system has no locks, everything does.
    """
    named = re.compile(rf"\.{re.escape(final.name)}{MARK}({_OLD})?[a-z0-9_]{{8}}({re.escape(final.suffix)})?")
    for left in sorted(final.parent.glob(f".{glob.escape(final.name)}{MARK}*")):
        match = named.fullmatch(left.name)
        if match is None or left.is_symlink():
            continue
        try:
            handle = os.open(left, os.O_RDONLY)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            if not held(handle):
                continue
            if match[1] and not os.path.lexists(final) and any(left.iterdir()):
                os.replace(left, final)
            else:
                remove(left)
        except OSError:  # another process was faster
            continue
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a directory, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _made(final: Path, directory: bool) -> tuple[Path, int]:
    """Make it and lock it. Between the two somebody may take it for left: then another one is made."""
    while True:
        prefix = f".{final.name}{MARK}"
        if directory:
            path = Path(tempfile.mkdtemp(dir=final.parent, prefix=prefix))
        else:
            handle, name = tempfile.mkstemp(dir=final.parent, prefix=prefix, suffix=final.suffix)
            path = Path(name)
            os.close(handle)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if held(handle) is not False and _is_open_as(path, handle):
            return path, handle
        os.close(handle)


def _is_open_as(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
