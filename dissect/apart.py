"""Outputs that would replace what the same call reads: refused before any work, in this one place.

What counts is where names lead, not how they are written: links are followed, and a file under two names is one file.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dissect.errors import DissectError

_CHECKPOINT = ("config.json", "adapter_config.json")
"""A directory that holds one of these is a checkpoint."""
_OF_CHECKPOINTS = (
    *_CHECKPOINT,
    "*.safetensors",
    "*.bin",
    "*.index.json",
    "*config.json",
    "*token*",
    "vocab.*",
    "merges.txt",
    "chat_template*",
)
"""Files of a checkpoint. Others may lie in its directory, such as its own evaluations, and may be written there."""
_BESIDE = r"\.(partial(-\d+)?|last-good)"
"""Ends of the names that work under way, and a run that diverged, have beside an output."""
_ADDED_TO = ("--folder", "folder", "--tensorboard")
"""Outputs that are directories to which files are added, so that another output may lie in them."""


def check_apart(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Refuse an output that something would be lost to.

    That is one which is an input of the same call, is a file of a checkpoint that is read, or holds an input; one whose
    unfinished work would stand where an input stands; and one which is another output, or lies in one. Names that no
    file has, such as those of models on the hub, are nothing that could be lost.

    Args:
        outputs: paths by the names that the message calls them; None is no output.
        inputs: what is read, by name: paths, or mappings and sequences of them, also as texts with a name in front
            (``ga=runs/ga``). Of an adapter, the base model that it names is read as well. Everything else is passed
            over.

    Raises:
        DissectError: the first output that something would be lost to.

    Example:
        >>> check_apart({"out": "runs/new"}, {"model": "runs/base"})
    """
    placed: dict[Path, str] = {}
    for name, output in outputs.items():
        if output is None:
            continue
        if "\0" in os.fspath(output):
            raise DissectError(f"{name} {os.fspath(output)!r} holds a NUL, which no name may: choose another name")
        place = Path(os.path.realpath(output))
        _check_others(name, Path(output), place, placed)
        placed[place] = name
        for role, value in inputs.items():
            for path in _paths(value):
                _check(name, Path(output), place, role, path)


def _check_others(name: str, output: Path, place: Path, placed: Mapping[Path, str]) -> None:
    """Two outputs are two places, and neither lies in the other, which takes its name as a whole."""
    for other, of in placed.items():
        if other == place:
            raise DissectError(f"{name} and {of} are both {output}: give each a name of its own")
        outer, inner = (of, name) if other in place.parents else (name, of)
        if (other in place.parents or place in other.parents) and outer not in _ADDED_TO:
            raise DissectError(f"{inner} lies in {outer}, which is written as a whole: choose a place beside it")


def _check(name: str, output: Path, place: Path, role: str, path: Path) -> None:
    read = Path(os.path.realpath(path))
    if read == place or _same(read, place) or _is_part(output, place, read):
        raise DissectError(f"{name} {output} is what is read as {role}, which would be lost: choose another name")
    if place in read.parents:
        raise DissectError(f"{name} {output} holds {path}, which is read as {role}: choose a place beside it")
    beside = re.compile(re.escape(place.name) + _BESIDE)
    if any(each.parent == place.parent and beside.fullmatch(each.name) for each in (read, *read.parents)):
        raise DissectError(
            f"{name} {output} keeps unfinished work where {path} is, which is read as {role}: choose another name"
        )


def _same(first: Path, second: Path) -> bool:
    """One file, under whatever names: hard links, another case of letters, a directory that is mounted twice."""
    try:
        return os.path.samefile(first, second)
    except OSError:  # one of them does not exist
        return False


def _is_part(output: Path, place: Path, read: Path) -> bool:
    """Return True if the output would replace a file of the checkpoint ``read``, or a link that stands for one."""
    there = os.path.lexists(output) or os.path.lexists(place)
    if not (there and any((read / mark).is_file() for mark in _CHECKPOINT)):
        return False
    directories = {os.path.realpath(output.parent): output.name, os.fspath(place.parent): place.name}
    name = directories.get(os.fspath(read))
    return name is not None and any(fnmatch(name.lower(), pattern) for pattern in _OF_CHECKPOINTS)


def _paths(value: Any) -> Iterator[Path]:
    """Everything in ``value`` that exists in the file system, and the base models of adapters."""
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        for spelling in dict.fromkeys((text, text.partition("=")[2])):
            if spelling and "\0" not in spelling and os.path.exists(spelling):
                yield Path(spelling)
                yield from _named_base(Path(spelling) / "adapter_config.json")
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _paths(item)


def _named_base(file: Path) -> Iterator[Path]:
    """The base model that an adapter records, where it is a directory; a damaged file is refused elsewhere."""
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"] if file.is_file() else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if isinstance(base, str) and base and "\0" not in base and os.path.isdir(base):
        yield Path(base)
