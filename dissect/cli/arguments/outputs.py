"""Checks that a result can be written, before the work and not after it."""

import os
import tempfile
from pathlib import Path

from dissect.errors import DissectError


def check_file(path: Path, *suffixes: str, option: str = "--out", overwrite: bool = True) -> None:
    """Check that a file of that name can be written.

    Raises:
        DissectError: another suffix, a directory, no right to write there, or a file that may not be replaced.
    """
    if path.suffix.lower() not in suffixes:
        raise DissectError(f"{option} {path}: use a name that ends in {', '.join(suffixes)}")
    if path.is_dir():
        raise DissectError(f"{option} {path} is a directory: give the name of a file")
    if path.exists() and not overwrite:
        raise DissectError(f"{option} {path} exists: choose another name or add --overwrite")
    check_parent(path)


def check_directory(path: Path, *, overwrite: bool = False) -> None:
    """Check that a new directory of that name can be made.

    Raises:
        DissectError: it exists and is not empty, or no right to write there.
    """
    from dissect.files import check_new_directory

    check_new_directory(path, overwrite=overwrite)
    check_parent(path)


def check_parent(path: Path) -> None:
    """The nearest directory that exists must let us write: the others are made in it."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise DissectError(f"--out {path}: {parent} is a file, not a directory: choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise DissectError(f"--out {path}: no right to write in {parent}: choose another place")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise DissectError(f"--out {path}: nothing can be made in {parent} ({error.strerror})") from None


def leaderboard(page: Path | None, out: Path | None, n_checkpoints: int, *, overwrite: bool) -> Path | None:
    """The leaderboard to write: the one that was asked for, or with several checkpoints one beside the result.

    Raises:
        DissectError: as `check_file`.
    """
    if page is not None:
        check_file(page, ".html", option="--page", overwrite=overwrite)
        return page
    return None if out is None or n_checkpoints < 2 else out.with_suffix(".leaderboard.html")
