"""Writing files and directories so that a failure never leaves half of one behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dissect.errors import DissectError


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

    Raises:
        DissectError: ``path`` exists and is not an empty directory, and ``overwrite`` is false.
    """
    final = Path(path)
    check_new_directory(final, overwrite=overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
    os.chmod(temporary, 0o777 & ~_umask())
    try:
        yield temporary
        if final.exists():
            old = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-old-"))
            os.replace(final, old)  # an empty directory may be replaced by a rename, so the swap is two renames
            os.replace(temporary, final)
            shutil.rmtree(old)
        else:
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a directory that already holds something: asked early, before hours of work go into its contents."""
    final = Path(path)
    if final.exists() and not final.is_dir():
        raise DissectError(f"{final} is a file, a directory is needed: choose another name")
    if final.is_dir() and any(final.iterdir()) and not overwrite:
        raise DissectError(f"{final} exists and is not empty: choose another name or ask for overwriting")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
