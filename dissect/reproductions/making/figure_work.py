"""Inputs of every figure: its models and facts, its settings, and results that are not computed twice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import plotly.graph_objects as go
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.evaluation.sets import fingerprint
from dissect.evaluation.sources import signature
from dissect.jobs.items import Items
from dissect.jobs.journals import Journals
from dissect.models.adapter_base import adapter_base_of
from dissect.models.files.load import load
from dissect.provenance import versions
from dissect.reproductions.making.figure_inputs import Config, FigureModel
from dissect.reproductions.making.figure_store import FigureStore
from dissect.sweep.results.sweep_result import SweepResult

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """A figure and the numbers behind it."""

    figures: Mapping[str, go.Figure]
    """By what is put behind the figure's name; an empty text for the figure itself."""
    tables: Mapping[str, pd.DataFrame]
    """Tables by what is put behind the figure's name."""
    notes: Sequence[str] = field(default_factory=list)
    """Notes on what went differently, e.g. runs that diverged."""


class FigureWork:
    """The making of one figure."""

    def __init__(
        self,
        name: str,
        config: Config,
        settings: Mapping[str, Any],
        folder: Path,
        *,
        seed: int,
        device: str | None,
        dtype: str,
        progress: bool,
    ) -> None:
        """``folder`` is the figure's own, for results and runs."""
        self.name, self.config, self.settings, self.folder = name, config, settings, folder
        self.seed, self.device, self.dtype, self.progress = seed, device, dtype, progress
        self.store = FigureStore(folder / "results")
        self.checkpoints: dict[str, str] = {}
        """Fingerprint of every checkpoint that the figure rests on."""
        self.journals: Journals | None = None
        """Journals of what each process has finished, where several make the figure."""
        self._items: Items | None = None
        self._facts: dict[tuple[str, str, str], Facts | None] = {}
        self._base: tuple[str, HookedTransformer] | None = None

    def facts(self, model: FigureModel, name: str, id: str = "") -> Facts | None:
        """A set of facts, of one concept where each has its own; None where none was given.

        Raises:
            DissectError: the file cannot be read.
        """
        file = model.facts.get(name)
        if file is None:
            return None
        key = (model.name, name, id if file.of_one else "")
        if key not in self._facts:
            self._facts[key] = file.read(key[2], model.beside)
        return self._facts[key]

    def needed(self, model: FigureModel, name: str, id: str = "") -> Facts:
        """A set of facts without which there is no figure.

        Raises:
            DissectError: none was given.
        """
        facts = self.facts(model, name, id)
        if facts is None:
            raise DissectError(f"{self.name} needs facts {name!r} of model {model.name!r}: give them in the config")
        return facts

    def single(self, model: FigureModel, name: str) -> Facts:
        """A set for figures that train: it may not be one for each concept.

        Raises:
            DissectError: none was given, or one for each concept.
        """
        if name in model.facts and model.facts[name].of_one:
            raise DissectError(f"{self.name} trains on one set of facts: name one concept in place of {{id}}")
        return self.needed(model, name)

    def load(self, source: str) -> HookedTransformer:
        """A checkpoint, its fingerprint noted."""
        base = None if self._base is None else self._base[0]
        under = adapter_base_of(source, stand_in=None if base == source else base)
        model = load(source, dtype=self.dtype, device=self.device, base=under, progress=False)
        self.checkpoints[source] = str(getattr(model, "checkpoint").fingerprint)  # noqa: B009  # not in its class
        return model

    def base(self, model: FigureModel) -> HookedTransformer:
        """A model's base checkpoint; the last one asked for stays in memory."""
        if self._base is None or self._base[0] != model.base:
            self._base = None  # first: there may be room for one
            self._base = model.base, self.load(model.base)
        return self._base[1]

    def fingerprint(self, model: FigureModel) -> str:
        """Return the fingerprint of a model's base checkpoint."""
        return self.checkpoints[model.base] if model.base in self.checkpoints else self._noted(model)

    def _noted(self, model: FigureModel) -> str:
        self.base(model)
        return self.checkpoints[model.base]

    def key(self, sources: Sequence[str], sets: Mapping[str, Facts | None], **what: Any) -> dict[str, Any]:
        """All that a result depends on: files of the checkpoints, facts, settings, versions.

        A hub id is taken for the same checkpoint whenever it is asked for.
        """
        chat = {} if self.config.chat is None else {"chat": self.config.chat.to_dict()}
        return chat | {
            "sources": [(signature(source) or [[source]])[1:] or source for source in sources],
            "facts": {name: fingerprint(facts) for name, facts in sets.items() if facts is not None},
            "what": what,
            "template": self.config.template,
            "batch_size": self.config.batch_size,
            "dtype": self.dtype,
            "seed": self.seed,
            "versions": versions(),
        }

    def shared(self, collect: Callable[[], T]) -> T:
        """Return what ``collect`` gives, whose items processes share: all that a figure computes, without the drawing.

        Where there are several it is called twice: once for each process to compute what is its own, in which no item
        gives anything, and once to read what all have kept.

        Raises:
            Unfinished: other tasks of a job array have not done their items yet.
            JobError: another rank died.
        """
        if self.journals is not None and self.journals.task.count > 1:
            items = self._items = Items(self.journals)
            collect()
            self._items = None
            items.gather()
        return collect()

    def item(self, label: str, key: Any, compute: Callable[[], T], nothing: T) -> T:
        """Return what ``compute`` gives and keeps, where this process is to do it, with all that it calls.

        Which items there are may not depend on what is kept already.

        Args:
            key: what it depends on.
            nothing: given in the first pass; see ``shared``.
        """
        if self._items is None:
            return compute()
        items, self._items = self._items, None

        def done() -> dict[str, Any]:
            compute()
            return {}

        try:
            items.take(self.store.path(label, {"item": key}, "").name, label, done)
        finally:
            self._items = items
        return nothing

    def kept(self, label: str, key: Mapping[str, Any], sources: Sequence[str], make: Callable[[], Any]) -> Any:
        """Return the JSON-serialisable result of ``make``, or the one kept earlier: an item."""
        return self.item(label, key, partial(self._kept, label, key, sources, make), [])

    def _kept(self, label: str, key: Mapping[str, Any], sources: Sequence[str], make: Callable[[], Any]) -> Any:
        record = self.store.get(label, key)
        if record is None:
            value = make()
            record = {"value": value, "checkpoints": {s: self.checkpoints[s] for s in sources if s in self.checkpoints}}
            self.store.put(label, key, record)
        self.checkpoints |= record["checkpoints"]
        return record["value"]

    def swept(self, label: str, key: Mapping[str, Any], make: Callable[[Path], SweepResult]) -> SweepResult:
        """A sweep, from its file where it is finished; ``make`` is told where to write it, and goes on there."""
        file = self.store.path(label, key, ".nc")
        sweep = SweepResult.load(file) if file.is_file() else make(file)
        spec = sweep.spec
        self.checkpoints |= {
            str(spec[f"{role}_path"]): str(spec[f"{role}_fingerprint"])
            for role in ("base", "unlearned")
            if f"{role}_fingerprint" in spec
        }
        return sweep
