"""The exception that a user of dissect can cause, and what becomes of it where several processes work."""

import difflib
from collections.abc import Iterable

from dissect.visible import visible


class DissectError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: what was wrong, the value seen, and the way out. The command line prints it and exits
    with status 2; in Python it is an ordinary ``ValueError``. Names and
    contents of files in it are shown as `visible` shows them.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class Undefined(DissectError):
    """A measure is not defined for what it was given; the message says what is missing and how to give it."""


class JobError(DissectError):
    """Nothing is wrong with what was asked: other processes of the job, or what they left in files, are in the way."""


class Unfinished(JobError):
    """A task of a job array has done its part, and others have not: there is no result yet. No failure."""


def near_miss(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for a name that resembles one of those there are, else nothing."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
