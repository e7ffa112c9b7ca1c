"""Writing files and directories so that a failure never leaves half of one behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dissect.change_places import exchange
from dissect.errors import DissectError
from dissect.temporary import place_for_old, remove, temporary_beside

CHECKPOINT_MARK = "config.json"
"""A directory that holds it is a checkpoint, which may be replaced if that is asked for."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the final name only if the body succeeds.

    The temporary name keeps the suffix of ``path``, because writers choose their format by it.

    Raises:
        OSError: from the body, such as of a full disk; it names ``path``.
    """
    final = Path(path)
    with naming(final), temporary_beside(final) as temporary:
        os.chmod(temporary, 0o666 & ~_umask())  # temporary files are private; a result is an ordinary one
        yield temporary
        os.replace(temporary, final)


@contextmanager
def atomic_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; it takes the final name only if the body succeeds.

    A link to a directory stays one; what it leads to is replaced.

    Raises:
        DissectError: ``path`` exists and is not an empty directory, and ``overwrite`` is false; or it is no checkpoint.
        OSError: from the body, such as of a full disk; it names ``path``.
    """
    final = Path(os.path.realpath(path))
    with naming(final), temporary_beside(final, directory=True) as temporary:
        check_new_directory(path, overwrite=overwrite)
        os.chmod(temporary, 0o777 & ~_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():  # some writers make private files; a result is an ordinary one
                file.chmod(0o666 & ~_umask())
        check_new_directory(path, overwrite=overwrite)  # hours may have passed
        _take_name(temporary, final)


def _take_name(temporary: Path, final: Path) -> None:
    """Give the new directory its name, and remove the old one.

    A directory with something in it cannot be replaced by renaming another over it: POSIX refuses. Moving the old one
    away first leaves the name empty for a moment, and whoever is killed in it leaves nothing there. Linux can let two
    names change places in one step, after which the old one stands under the temporary name and may be removed at
    leisure, half of it by this process and the rest by the next. Where the system or the file system cannot (macOS,
    Windows, NFS), the moment remains: both versions are then whole, under hidden names, and the next process that
    writes there puts the old one back.
    """
    if not final.exists() or not any(final.iterdir()):
        os.replace(temporary, final)
    elif not exchange(temporary, final):
        old = place_for_old(final)
        os.replace(final, old)
        os.replace(temporary, final)
        remove(old)


def discard(path: Path) -> None:
    """Remove a directory so that it is whole under its name until it is gone, also where this process is killed."""
    if not path.is_dir():
        return
    with temporary_beside(path, directory=True) as temporary:
        os.replace(path, temporary / path.name)


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
    for inner in sorted(final.iterdir()):  # no checkpoint has directories, but for the hidden ones of a download
        if inner.is_dir() and inner.name[0] != "." and any(inner.iterdir()):
            raise DissectError(f"{final} holds {inner.name}/ beside a checkpoint, which would be lost: move it away")


@contextmanager
def naming(final: str | os.PathLike[str]) -> Iterator[None]:
    """Have errors of the system that name no file, such as that of a full disk, name ``final``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(final)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
