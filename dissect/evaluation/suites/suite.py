"""`Suite`: which files a published benchmark consists of, and which measures it is scored by."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.readers import read_facts
from dissect.data.readers.json_rows import json_content
from dissect.data.readers.published_files import published_files
from dissect.errors import DissectError

SuiteName = Literal["tofu", "muse", "wmdp", "rwku", "mmlu"]
Reader = Callable[[list[Path]], Iterable[Fact]]


def plain(paths: list[Path]) -> list[Fact]:
    """Facts of files as they are; an array of texts alone, as MUSE's code has it, is plain texts."""
    facts: list[Fact] = []
    for path in paths:
        texts = json_content(path) if path.suffix == ".json" else []
        if texts and all(isinstance(text, str) for text in texts):
            facts += [Fact(text=text, where=f"{path}, item {number}") for number, text in enumerate(texts, start=1)]
        else:
            facts += read_facts(path)
    return facts


@dataclass(frozen=True, kw_only=True)
class Part:
    """One set of facts of a suite."""

    set: str
    """Name of the set in results."""
    names: tuple[str, ...]
    """Names that its files may have, best first, as ``published_files`` takes them; ``{split}`` is the split."""
    use: str
    """What it is for."""
    needed: bool = False
    """Whether nothing can be scored without it."""
    read: Reader = plain


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A published benchmark."""

    name: str
    about: str
    parts: tuple[Part, ...]
    measures: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options with which the measures compute what the benchmark publishes."""
    models: Mapping[str, str] = field(default_factory=dict)
    """What it needs a reference model for (``base`` or ``retrained``), and what may stand in for one."""
    splits: tuple[str, ...] = ()
    """Its splits, the first of which is the default."""

    def found(self, data: str | os.PathLike[str], *, split: str | None = None) -> dict[str, list[Path]]:
        """The files of each set that there are, by the set's name.

        Raises:
            DissectError: no such directory or split, or a set that is needed has no file.
        """
        root = Path(data)
        if not root.is_dir():
            raise DissectError(f"expected a directory with the files of {self.name}, got {root}: check --data")
        if split is not None and split not in self.splits:
            choices = f"choose from {', '.join(self.splits)}" if self.splits else "leave it out"
            raise DissectError(f"{self.name} has no split {split!r}: {choices}")
        chosen = split or next(iter(self.splits), "")
        files = {part.set: published_files(root, *_named(part, chosen)) for part in self.parts}
        for part in self.parts:
            if part.needed and not files[part.set]:
                expected = " or ".join(f"{name}.json" for name in _named(part, chosen))
                raise DissectError(
                    f"{self.name} needs {part.set} ({part.use}), and {root} has no {expected} (nor .jsonl, .parquet, "
                    ".csv): put it there"
                )
        if not any(files.values()):
            names = ", ".join(name for part in self.parts for name in _named(part, chosen)[:1])
            raise DissectError(f"{root} has no file of {self.name}: expected some of {names}")
        return {name: paths for name, paths in files.items() if paths}

    def said(self, data: str | os.PathLike[str], *, split: str | None = None, models: Iterable[str] = ()) -> list[str]:
        """One line for each set and reference model: what is there, and what lacks it."""
        files, root, given = self.found(data, split=split), Path(data), set(models)
        lines = [f"{self.name}: {self.about}"]
        for part in self.parts:
            paths = files.get(part.set)
            where = ", ".join(str(path.relative_to(root)) for path in paths[:3]) if paths else "lacking"
            more = f" and {len(paths) - 3} more" if paths and len(paths) > 3 else ""
            lines.append(f"  {part.set}: {where}{more} ({part.use})")
        lines += [f"  {name}: {'given' if name in given else 'lacking'} ({use})" for name, use in self.models.items()]
        return lines

    def inputs(self, data: str | os.PathLike[str], *, split: str | None = None) -> dict[str, Any]:
        """``sets``, ``measures`` and ``options``, as ``dissect.evaluate`` takes them.

        Raises:
            DissectError: as `found`, or a file that cannot be read, with its line.
        """
        files = self.found(data, split=split)
        readers = {part.set: part.read for part in self.parts}
        sets = {name: Facts(readers[name](paths)) for name, paths in files.items()}
        return {"sets": sets, "measures": list(self.measures), "options": dict(self.options)}


def _named(part: Part, split: str) -> list[str]:
    return [name.format(split=split) for name in part.names]
