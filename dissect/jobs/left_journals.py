"""Journals beside a result that is there: of processes that were killed after they wrote it."""

import glob
import json
import os
import re
from pathlib import Path

from dissect.locks import lock


def journals_beside(out: Path) -> list[Path]:
    """Every journal of work on ``out``."""
    name = f"{out.name}.partial"
    paths = sorted(out.parent.glob(f"{glob.escape(name)}*"))
    return [path for path in paths if re.fullmatch(r"(-\d+)?", path.name.removeprefix(name)) and path.is_file()]


def is_over(journal: Path, out: Path) -> bool:
    """Return True if the work of a journal ended with the result ``out``.

    Nothing was written to it since, but perhaps that its process was through.
    """
    if not out.is_file():
        return False
    return journal.stat().st_mtime_ns <= out.stat().st_mtime_ns or _has_left(journal)


def is_empty(journal: Path) -> bool:
    """Return True if a journal holds nothing that is finished."""
    with journal.open("rb") as file:
        return not any(line.startswith(b'{"batch": ') for line in file)


def clear_journals(out: Path) -> None:
    """Remove the journals whose work ended with ``out``, as far as no process holds them."""
    for journal in journals_beside(out):
        try:
            with journal.open("rb") as file:
                if file.read(len(_BEGINNING)) == _BEGINNING and is_over(journal, out) and lock(file):
                    journal.unlink()
        except OSError:  # gone meanwhile, or another user's
            continue


_BEGINNING = b'{"journal": '


def _has_left(journal: Path) -> bool:
    with journal.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        last = file.read().splitlines()[-1:]
    return last == [json.dumps({"left": True}).encode()]
