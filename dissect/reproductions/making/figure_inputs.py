"""Inputs of a figure: models, their checkpoints, and facts."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissect.data.chat.chat_settings import Chat
from dissect.data.facts import Facts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One unlearned checkpoint, by what its pattern says of it."""

    source: str
    """A directory, a hub id or an adapter."""
    method: str = ""
    id: str = ""
    """Id of the concept that was forgotten."""
    epoch: int | None = None

    @property
    def place(self) -> dict[str, Any]:
        """Columns of a table that name the checkpoint."""
        return {"method": self.method, "id": self.id, "epoch": self.epoch}


@dataclass(frozen=True, kw_only=True)
class FactFile:
    """A file of facts; ``{id}`` in ``file`` or ``concept`` is the checkpoint's."""

    file: str
    concept: str | None = None
    part: str | None = None
    split: str | None = None

    @property
    def of_one(self) -> bool:
        """True if each concept has facts of its own."""
        return any("id" in fields(text) for text in (self.file, self.concept or ""))

    def read(self, id: str, beside: Path | None) -> Facts:
        """The facts of one concept.

        Raises:
            DissectError: as ``Facts.read`` and ``Facts.from_conceptvectors``.
        """
        path = located(self.file.format(id=id), beside)
        if self.concept is None and self.part is None:
            return Facts.read(path, split=self.split)
        concept = None if self.concept is None else self.concept.format(id=id)
        return Facts.from_conceptvectors(path, concept=concept, part=self.part or "QA")  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class FigureModel:
    """A base model and what was made of it."""

    name: str
    base: str
    retrained: str | None = None
    """Checkpoint trained without the forget facts."""
    unlearned: tuple[Checkpoint, ...] = ()
    facts: Mapping[str, FactFile] = field(default_factory=dict)
    beside: Path | None = None
    """Directory of the config, where files are looked for that are not in the working directory."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Concepts, in order; one without a name where the pattern has none."""
        return tuple(dict.fromkeys(checkpoint.id for checkpoint in self.unlearned)) or ("",)

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods, in order."""
        return tuple(dict.fromkeys(checkpoint.method for checkpoint in self.unlearned))

    def of(self, id: str) -> list[Checkpoint]:
        """The checkpoints of one concept."""
        return [checkpoint for checkpoint in self.unlearned if checkpoint.id == id]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All of a YAML file."""

    models: tuple[FigureModel, ...]
    template: str = DEFAULT_TEMPLATE
    chat: Chat | None = None
    """Settings of the checkpoints' chat template, where questions are asked in it."""
    dtype: str | None = None
    batch_size: int = 32
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of single figures, by their names."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """Content of the file, unchanged."""


def located(name: str, beside: Path | None) -> str:
    """A path as it is, or beside the config where only that one exists; hub ids stay as they are."""
    near = None if beside is None else beside / name
    return str(near) if near is not None and not Path(name).exists() and near.exists() else name


def fields(pattern: str) -> list[str]:
    """Names of what stands in braces."""
    try:
        return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None))
    except ValueError as error:
        raise DissectError(f"{pattern!r}: {error}: write {{{{ for a brace") from error
