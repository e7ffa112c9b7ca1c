"""Runs of unlearning that are measured at the ends of epochs."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import DissectError, near_miss
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork
from dissect.reproductions.making.measure_rows import AskedPairs, Bench
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.settings_file import number
from dissect.unlearning.config.train_config import TrainConfig, make_config, names
from dissect.unlearning.focus import Spans
from dissect.unlearning.gradient.order import order
from dissect.unlearning.run.trainer import Diverged
from dissect.unlearning.run.watch import Watch
from dissect.unlearning.unlearn import unlearn

TableRows = list[dict[str, Any]]
NO_RETAIN = ("ga", "undial")
"""Methods that a grid trains on the forget facts alone, as in their papers, unless ``retain_loss`` asks for more."""


class Runs:
    """Trains on one model's facts, and measures each run at the same epochs."""

    def __init__(
        self,
        work: FigureWork,
        model: FigureModel,
        *,
        forget: Facts,
        retain: Facts | None,
        epochs: Any,
        asked: AskedPairs,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``epochs`` are those at whose ends to measure; ``options`` are those of measures.

        Raises:
            DissectError: ``epochs`` that are no whole numbers from 1 on.
        """
        if not isinstance(epochs, (list, tuple)) or not epochs or not all(type(e) is int and e > 0 for e in epochs):
            raise DissectError(f"epochs must be a list of whole numbers from 1 on, got {epochs!r}")
        self.work, self.model, self.forget, self.retain = work, model, forget, retain
        self.epochs, self.asked, self.options = sorted(set(epochs)), list(asked), dict(options or {})
        self.sets = {name: work.facts(model, name) for name in dict.fromkeys(name for _, name in asked)}
        self.notes: list[str] = []
        self._bench: Bench | None = None

    def references(self) -> list[dict[str, Any]]:
        """Return the rows of the base and, where there is one, the retrained model; ``run`` names which."""
        work, all_rows = self.work, []
        for name, source in (("base", self.model.base), ("retrained", self.model.retrained)):
            if source is not None:
                sources = list(dict.fromkeys([self.model.base, source]))
                key = work.key(sources, self.sets, asked=self.asked, options=self.options)
                rows = work.kept(name, key, sources, partial(self._reference, name, source))
                all_rows += [{**row, "run": name} for row in rows]
        return all_rows

    def check(self, settings: Mapping[str, Any], name: str = "a run") -> TrainConfig:
        """The configuration of a run.

        Raises:
            DissectError: settings that do not exist or do not go together, or a retain loss without retained facts.
        """
        try:
            config = make_config({"seed": self.work.seed, **plain(settings), "epochs": max(self.epochs)})
        except DissectError as error:
            raise DissectError(f"{self.work.name}, {name}: {error}") from error
        if self.retain is None and (config.retain_loss is not None or config.method == "grad_diff"):
            raise DissectError(
                f"{self.work.name}, {name}: it has a retain loss: give facts 'retain_seen' in the config"
            )
        return config

    def run(
        self,
        settings: Mapping[str, Any],
        *,
        label: str,
        focus: tuple[str, Spans] | None = None,
        **place: Any,
    ) -> list[dict[str, Any]]:
        """One row for each epoch and pair of measure and set; ``place`` stands in all of them.

        With a constant learning rate a run of few epochs is the beginning of one of many: one run serves them all.
        Otherwise each number of epochs is a run of its own. A run that diverges has rows up to there, and a note.

        Args:
            focus: the name of UnDIAL's focus, and the function that finds it.
        """
        config = self.check(settings)
        rows: list[dict[str, Any]] = []
        for epochs in [self.epochs] if nests(config) else [[epoch] for epoch in self.epochs]:
            whole = make_config({**config.to_dict(), "epochs": max(epochs)})
            name = label if nests(config) else f"{label} epochs={max(epochs)}"
            rows += self._one(whole, epochs, name, focus)
        return [{**row, **place} for row in rows]

    def _one(
        self, config: TrainConfig, epochs: Sequence[int], label: str, focus: tuple[str, Spans] | None
    ) -> list[dict[str, Any]]:
        """A run, an item: two processes may not train in one directory."""
        work, sources = self.work, [self.model.base]
        retain = self.retain if takes_retained(config) else None
        said = config.to_dict() | ({"epochs": "nested"} if nests(config) else {})
        trained = {"trained on": self.forget, "trained to keep": retain}
        watched = {"asked": self.asked, "options": self.options}
        way = {"train": said, "focus": focus and focus[0]}
        keys = {epoch: work.key(sources, {**self.sets, **trained}, **way, **watched, epoch=epoch) for epoch in epochs}
        names = {epoch: f"{label} epoch={epoch}" for epoch in epochs}
        failed_key = work.key(sources, trained, **way, epochs=config.epochs)

        def rows() -> TableRows:
            missing = [epoch for epoch in epochs if work.store.get(names[epoch], keys[epoch]) is None]
            failure = work.store.get(f"{label} diverged", failed_key)
            if missing and failure is None:

                def look(epoch: int, model: HookedTransformer) -> Any:
                    return work.kept(names[epoch], keys[epoch], sources, partial(self._measured, model))

                measured = {epoch: partial(look, epoch) for epoch in missing}
                failure = self._train(config, measured, work.folder / "runs" / label, retain, focus)
                if failure is not None:
                    work.store.put(f"{label} diverged", failed_key, failure)
            if failure is not None:
                self.notes.append(f"{label}: {failure}")
            measured_rows: TableRows = []
            for epoch, key in keys.items():
                if work.store.get(names[epoch], key) is not None:
                    there = work.kept(names[epoch], key, sources, lambda: None)
                    measured_rows += [{**row, "epoch": epoch} for row in there]
            return measured_rows

        return work.item(label, [failed_key, *keys.values()], rows, [])

    def _train(
        self,
        config: TrainConfig,
        measured: Mapping[int, Callable[[HookedTransformer], Any]],
        out: Path,
        retain: Facts | None,
        focus: tuple[str, Spans] | None,
    ) -> str | None:
        """Run to the last epoch that is to be measured; the reason if that was not reached."""
        work = self.work
        steps = order(len(self.forget), len(retain or ()), config)
        ends = {step.epoch + 1: number for number, step in enumerate(steps, start=1) if step.last_of_epoch}
        watches = [
            Watch(partial(_logged, look), steps=[ends[epoch]], name=f"epoch-{epoch}")
            for epoch, look in measured.items()
        ]
        try:
            model = work.load(self.model.base)
            prompting: dict[str, Any] = {"template": work.config.template, "chat": work.config.chat, "progress": False}
            run = unlearn(
                model,
                forget=self.forget.prompts(model, **prompting),
                retain=None if retain is None else retain.prompts(model, **prompting),
                config=config,
                focus_spans=None if focus is None else focus[1],
                callbacks=watches,
                out=out,
                overwrite=True,
                progress=work.progress,
            )
        except DissectError as error:
            if not isinstance(error.__cause__, Diverged):
                raise
            return str(error)
        if not nests(config):  # a rule of stopping may have ended it before the last step
            for look in measured.values():
                look(run.model)
        return None

    def _measured(self, model: HookedTransformer) -> list[dict[str, Any]]:
        return self._tools().rows(model, self.asked)

    def _reference(self, name: str, source: str) -> list[dict[str, Any]]:
        base = self.work.base(self.model)
        return self._tools().rows(base if name == "base" else self.work.load(source), self.asked)

    def _tools(self) -> Bench:
        if self._bench is None:
            compares = any(measure.startswith("similarity_to_base") for measure, _ in self.asked)
            self._bench = Bench(
                self.work, self.sets, base=self.work.base(self.model) if compares else None, options=self.options
            )
        return self._bench


def nests(config: TrainConfig) -> bool:
    """Return whether a run of fewer epochs is the beginning of this one."""
    stops = (config.stop_loss, config.stop_perplexity_ratio, config.max_steps)
    return config.schedule == "constant" and stops == (None, None, None)


def takes_retained(config: TrainConfig) -> bool:
    """Return whether a run is given retain facts, where there are any."""
    return config.method not in NO_RETAIN or config.retain_loss is not None


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with their preset written out, and 1e-5, which YAML takes for text, as a number.

    Raises:
        DissectError: settings that do not exist.
    """
    numbers = {key: number(value) for key, value in settings.items() if key != "preset"}
    for key in numbers:
        if key not in names():
            raise DissectError(
                f"no training setting {key!r}{near_miss(key, names())}: choose from {', '.join(names())}"
            )
    return preset(str(settings["preset"])) | numbers if "preset" in settings else numbers


def label_of(varied: Mapping[str, Any]) -> str:
    """``lr=0.001 gamma=10.0``, also as the name of a directory."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in varied.items()).replace("/", "_").replace('"', "")


def _logged(look: Callable[[HookedTransformer], Any], model: HookedTransformer) -> dict[str, float]:
    """Look, and say for the run's log what was seen."""
    return {f"{row['measure']} {row['set']}": row["value"] for row in look(model)}


def rows_of(
    work: FigureWork,
    given: Callable[[FigureWork, FigureModel], TableRows],
    trained: Callable[[FigureWork, FigureModel], tuple[TableRows, list[str]]],
) -> tuple[TableRows, list[str]]:
    """Return rows and notes of all models: of the checkpoints that were given, or of runs where there are none."""

    def one(model: FigureModel) -> tuple[TableRows, list[str]]:
        return (given(work, model), []) if model.unlearned else trained(work, model)

    return collected(work, one)


def collected(
    work: FigureWork, of: Callable[[FigureModel], tuple[TableRows, list[str]]]
) -> tuple[TableRows, list[str]]:
    """Return rows and notes of all models, whose items processes share."""
    several = work.shared(lambda: [of(model) for model in work.config.models])
    return [row for rows, _ in several for row in rows], [note for _, notes in several for note in notes]
