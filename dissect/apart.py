"""Outputs that would replace what the same call reads."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dissect.errors import DissectError


def check_apart(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Refuse an output that is an input of the same call, holds one, or is another of its outputs.

    Links are followed, so that one file under two names is one file. Names that no file has, such as those of models on
    the hub, are nothing that could be lost.

    Args:
        outputs: paths by the names that the message calls them; None is no output.
        inputs: what is read, by name: paths, or mappings and sequences of them, also as texts with a name in front
            (``ga=runs/ga``). Everything else is passed over.

    Raises:
        DissectError: the first output that something would be lost to.

    Example:
        >>> check_apart({"out": "runs/new"}, {"model": "runs/base"})
    """
    placed: dict[Path, str] = {}
    for name, output in outputs.items():
        if output is None:
            continue
        place = Path(os.path.realpath(output))
        if place in placed:
            raise DissectError(f"{name} and {placed[place]} are both {output}: give each a name of its own")
        placed[place] = name
        for role, value in inputs.items():
            for path in _paths(value):
                _check(name, Path(output), place, role, path)


def _check(name: str, output: Path, place: Path, role: str, path: Path) -> None:
    read = Path(os.path.realpath(path))
    if read == place or (place.exists() and os.path.samefile(read, place)):
        raise DissectError(f"{name} {output} is what is read as {role}, which would be lost: choose another name")
    if place in read.parents:
        raise DissectError(f"{name} {output} holds {path}, which is read as {role}: choose a place beside it")


def _paths(value: Any) -> Iterator[Path]:
    """Everything in ``value`` that exists in the file system."""
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        for spelling in dict.fromkeys((text, text.partition("=")[2])):
            if spelling and "\0" not in spelling and os.path.lexists(spelling) and os.path.exists(spelling):
                yield Path(spelling)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _paths(item)
