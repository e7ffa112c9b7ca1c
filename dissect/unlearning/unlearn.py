"""Unlearning in one call: facts in, an unlearned checkpoint out."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.distributed import on_main
from dissect.errors import DissectError
from dissect.files import check_new_directory
from dissect.keywords import keywords
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.files.load import load
from dissect.models.sharding.sharded import is_sharded
from dissect.provenance import versions
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.train_config import TrainConfig, make_config
from dissect.unlearning.focus import Spans
from dissect.unlearning.gradient.training_data import Augment
from dissect.unlearning.run.checkup import Check, warnings
from dissect.unlearning.run.prepare import Preparation, prepare
from dissect.unlearning.run.ranked_run_files import RankedRunFiles
from dissect.unlearning.run.run_files import LOG_FILE, RunFiles, read_log
from dissect.unlearning.run.trainer import Callback, Diverged, Record, Trainer
from dissect.unlearning.run.write import check_destination, check_saved_as, write_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnlearningRun:
    """Result of a run."""

    model: HookedTransformer
    """The trained model: the one that was passed in, or with ``reuse`` one loaded from ``out``."""
    config: TrainConfig
    records: list[Record]
    """One record a step."""
    path: Path | None
    """Directory of the checkpoint, if one was written."""
    checks: list[Check] = field(default_factory=list)
    """Which answers were given when: before training, at the end of each epoch, and every ``check_every`` steps. With
    ``keep='best'`` the last is that of the weights that were kept."""


@keywords()
def unlearn(
    model: Any,
    *,
    forget: Facts | Prompts,
    retain: Facts | Prompts | None = None,
    alternate: Sequence[str] | None = None,
    monitor: Facts | Prompts | None = None,
    teacher: HookedTransformer | None = None,
    focus_spans: Spans | None = None,
    augment: Augment | None = None,
    out: str | os.PathLike[str] | None = None,
    save: str = "merged",
    save_dtype: str | None = None,
    overwrite: bool = False,
    reuse: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    config: TrainConfig | None = None,
    **settings: Any,
) -> UnlearningRun:
    """Train ``model`` in place to forget, and with ``out`` write it as a Hugging Face directory.

    The answers of the facts are unlearned, given their questions; plain texts are unlearned from their second token on.
    With ``out``, an interrupted run continues when it is called again with the same arguments, and ends with the same
    bits; its states are in ``<out>.partial`` until it is finished.

    Args:
        model: from ``dissect.load``, in float32 or bfloat16 (AdamW then steps float32 copies). It is changed; load the
            base model again to compare.
        forget: facts to forget, asked with the default template, or in the chat template with ``chat=True`` or its
            settings; or prompts. Texts longer than the context, or than ``max_length``, are cut into windows.
        retain: facts or prompts for a retain loss. As many are seen as forget facts.
        alternate: DPO: the preferred answer to each forget fact; by default the facts' own ``alternate``, or a sentence
            that says "I don't know".
        monitor: texts whose perplexity may end the run; by default the retained facts.
        teacher: reference of methods that have one; by default the model itself as it is before training.
        focus_spans: UnDIAL with focus: a function from a fact to strings of its answer; by default its ``focus``.
        augment: changes the forget prompts of each micro-batch on the fly; see
            ``dissect.unlearning.gradient.training_data.Augment``.
        out: new directory for the checkpoint.
        save: ``merged``, a whole checkpoint, or ``adapter``, the low-rank adapters alone in PEFT's format.
        save_dtype: dtype of the files; by default float32 where AdamW stepped float32 copies, else that of the model.
        overwrite: replace a checkpoint that is in ``out``.
        reuse: return a finished checkpoint that is in ``out``, if it is of this very run.
        callbacks: called as the model trains; see ``dissect.unlearning.run.trainer.Callback`` and ``dissect.Watch``.
        progress: show a progress bar.
        config: all settings at once, in place of ``settings``.
        settings: fields of ``TrainConfig`` (``method``, ``lr``, ``epochs``, ...) and ``preset``, or give a ``config``.

    Raises:
        DissectError: settings, data or an ``out`` that do not go together, before the first step; a loss that is no
            longer finite, during training.

    Example:
        >>> model = dissect.load("runs/demo/base")
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> run = dissect.unlearn(model, forget=forget, method="npo", lr=1e-4, epochs=1, out="runs/npo")
        >>> run.config.method, run.path
        ('npo', PosixPath('runs/npo'))
    """
    if not isinstance(model, HookedTransformer):
        raise DissectError(f"expected a model from dissect.load, got {type(model).__name__}")
    teacher = None if teacher is model else teacher  # as it is before training, which is what no teacher means
    preparation = prepare(
        model,
        forget,
        _config(config, settings),
        retain=retain,
        alternate=alternate,
        monitor=monitor,
        teacher=teacher,
        focus_spans=focus_spans,
        augment=augment,
    )
    files, path, identity = None, None, _identity(model, preparation, teacher)
    check_saved_as(preparation.config, save)
    once = on_main if is_sharded(model) else _here  # ranks that share a model look at the disk once for all
    if out is not None:
        path = Path(out)
        check_destination(model, path, save_dtype, teacher)
        if reuse and once(lambda: RunFiles.is_of(path, identity)):
            once(lambda: RunFiles.clear(path, identity))
            return _finished(model, preparation, path)
        overwrite = overwrite or once(lambda: RunFiles.was_written_by(path, identity))
        once(lambda: check_new_directory(path, overwrite=overwrite))
        files = (RankedRunFiles if is_sharded(model) else RunFiles)(path, identity, overwrite=overwrite)
    trainer = Trainer(
        model,
        preparation.data,
        preparation.config,
        teacher,
        callbacks,
        files,
        identity=json.dumps(identity, sort_keys=True),
        checked=True,
    )
    try:
        records = trainer.run(progress=progress)
    except Diverged as error:
        raise _diverged(error, trainer, path, save, save_dtype) from error
    if path is not None and files is not None:
        write_model(trainer, path, save=save, dtype=save_dtype, overwrite=overwrite)
        files.remove()
    for warning in warnings(trainer.checks):
        log.warning("%s", warning)
    return UnlearningRun(model, preparation.config, records, path, trainer.checks)


def _here(function: Callable[[], Any]) -> Any:
    return function()


def _config(config: TrainConfig | None, settings: dict[str, Any]) -> TrainConfig:
    if config is not None and settings:
        raise DissectError(f"config and single settings ({', '.join(settings)}) were both given: give one of them")
    name = settings.pop("preset", None)
    return config or make_config({**({} if name is None else preset(name)), **settings})


def _finished(model: HookedTransformer, preparation: Preparation, path: Path) -> UnlearningRun:
    """Result of a run that is over: the model is read from its files."""
    loading: dict[str, Any] = {"dtype": model.embed.W_E.dtype, "device": model.embed.W_E.device}
    if is_sharded(model):
        loading |= {"mesh": model.sharding.mesh, "compute_dtype": model.cfg.dtype}
    events = read_log(path / LOG_FILE)
    records = [event for event in events if event["event"] == "step"]
    for event in events:
        if event["event"] == "stop":
            records[-1]["stopped"] = event["reason"]
    checks = [Check.of(event) for event in events if event["event"] == "check"]
    checks += [Check.of({**event, "step": event["kept"]}) for event in events if event["event"] == "kept"]
    return UnlearningRun(load(path, **loading, progress=False), preparation.config, records, path, checks)


def _identity(model: HookedTransformer, preparation: Preparation, teacher: HookedTransformer | None) -> dict[str, Any]:
    """Everything that has to be the same for two runs to give the same bits."""
    return {
        "config": preparation.config.to_dict(),
        "data": preparation.fingerprints,
        "model": _fingerprint(model) | {"dtype": _dtypes(model), "device": model.embed.W_E.device.type},
        "teacher": None if teacher is None else _fingerprint(teacher),
        "versions": versions(),
    }


def _dtypes(model: HookedTransformer) -> str:
    compute, stored = model.cfg.dtype, model.embed.W_E.dtype
    return str(compute) if compute == stored else f"{compute} of {stored}"


def _fingerprint(model: HookedTransformer) -> dict[str, Any]:
    info = checkpoint_or_none(model)
    return {} if info is None else {"source": info.source, "fingerprint": info.fingerprint}


def _diverged(error: Diverged, trainer: Trainer, path: Path | None, save: str, save_dtype: str | None) -> DissectError:
    """Write the last good model where it can be found, and return the error that says so."""
    if path is None or error.good is None or trainer.files is None:
        if trainer.files is not None:
            trainer.files.remove()
        return DissectError(str(error))
    good = path.with_name(path.name + ".last-good")
    trainer.files.events(error.good)  # the log ends where the weights do
    write_model(trainer, good, save=save, dtype=save_dtype, overwrite=True)
    trainer.files.remove()
    return DissectError(f"{error}; the model as it was after {error.good} steps is in {good}")
