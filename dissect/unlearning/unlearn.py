"""Unlearning in one call: facts in, a forgetful checkpoint out."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.distributed import on_main
from dissect.errors import DissectError
from dissect.files import check_new_directory
from dissect.keywords import keywords
from dissect.models.files.load import load
from dissect.models.sharding.sharded import is_sharded
from dissect.provenance import versions
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.train_config import TrainConfig, make_config
from dissect.unlearning.focus import Spans
from dissect.unlearning.gradient.micro import Augment
from dissect.unlearning.run.prepare import Preparation, prepare
from dissect.unlearning.run.ranked_run_files import RankedRunFiles
from dissect.unlearning.run.run_files import LOG_FILE, RunFiles, read_log
from dissect.unlearning.run.trainer import Callback, Diverged, Record, Trainer
from dissect.unlearning.run.write import check_destination, check_saved_as, write_model


@dataclass(frozen=True)
class UnlearningRun:
    """What came out of a run."""

    model: HookedTransformer
    """The model that was given, now trained; with ``reuse`` one that was loaded."""
    config: TrainConfig
    records: list[Record]
    """One a step."""
    path: Path | None
    """The checkpoint's directory, if it was written."""


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
    """Train ``model`` in place to forget, and write it to ``out`` as a Hugging Face directory if asked.

    The answers of the facts are unlearned, given their questions; of plain texts, everything after the first token.
    With ``out``, a run that was interrupted goes on where it was when it is called again with the same arguments, and
    ends with the same bits; what it needs for that stands in ``<out>.partial`` until it is finished.

    Args:
        model: from ``dissect.load``, in float32 or bfloat16 (AdamW then steps float32 copies). It is changed; load the
            base model again to compare.
        forget: what to forget; as facts, the default template is used.
        retain: what to keep, for a retain loss. As many are seen as forget facts.
        alternate: DPO: the answer that is preferred, one for each forget fact; by default the facts' own ``alternate``
            or a sentence that says "I don't know".
        monitor: texts whose perplexity may end the run; by default the retained facts.
        teacher: what UnDIAL and KL learn from, if not the model itself as it is before training.
        focus_spans: UnDIAL with focus: a function from a fact to strings of its answer; by default its ``focus``.
        augment: changes the forget prompts of each micro-batch on the fly; see ``unlearning.gradient.micro.Augment``.
        save: ``merged`` (a whole checkpoint) or ``adapter`` (PEFT, what low-rank adapters alone can be saved as).
        save_dtype: of the files; by default float32 where AdamW stepped float32 copies, else that of the model.
        reuse: take a finished checkpoint that is in ``out`` as it is, if it is of this very run.
        callbacks: called as the model trains; see ``dissect.unlearning.run.trainer.Callback`` and ``dissect.Watch``.
        settings: fields of ``TrainConfig`` (``method``, ``lr``, ``epochs``, ...) and ``preset``, or give a ``config``.

    Raises:
        DissectError: settings, data or an ``out`` that do not go together, all before the first step; a loss that is no
            longer finite.

    Example:
        >>> model = dissect.load("runs/demo/base")
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> run = dissect.unlearn(model, forget=forget, method="npo", lr=1e-4, epochs=1, out="runs/npo")
        >>> run.config.method, run.path
        ('npo', PosixPath('runs/npo'))
    """
    if not isinstance(model, HookedTransformer):
        raise DissectError(f"the model to train is a {type(model).__name__}: give what dissect.load returns")
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
    asked = on_main if is_sharded(model) else _here  # ranks that share a model look at the disk once for all
    if out is not None:
        path = Path(out)
        check_destination(model, path, save_dtype)
        if reuse and asked(lambda: RunFiles.is_of(path, identity)):
            return _finished(model, preparation, path)
        overwrite = overwrite or asked(lambda: RunFiles.was_written_by(path, identity))
        asked(lambda: check_new_directory(path, overwrite=overwrite))
        files = (RankedRunFiles if is_sharded(model) else RunFiles)(path, identity, overwrite=overwrite)
    said = json.dumps(identity, sort_keys=True)
    trainer = Trainer(model, preparation.data, preparation.config, teacher, callbacks, files, said)
    try:
        records = trainer.run(progress=progress)
    except Diverged as error:
        raise _diverged(error, trainer, path, save, save_dtype) from error
    if path is not None and files is not None:
        write_model(trainer, path, save=save, dtype=save_dtype, overwrite=overwrite)
        files.remove()
    return UnlearningRun(model, preparation.config, records, path)


def _here(function: Callable[[], Any]) -> Any:
    return function()


def _config(config: TrainConfig | None, settings: dict[str, Any]) -> TrainConfig:
    if config is not None and settings:
        raise DissectError(f"give either config or single settings, not both ({', '.join(settings)})")
    named = settings.pop("preset", None)
    return config or make_config({**({} if named is None else preset(named)), **settings})


def _finished(model: HookedTransformer, preparation: Preparation, path: Path) -> UnlearningRun:
    """A run that is over: the model is read from its files."""
    how: dict[str, Any] = {"dtype": model.embed.W_E.dtype, "device": model.embed.W_E.device}
    if is_sharded(model):
        how |= {"mesh": model.sharding.mesh, "compute_dtype": model.cfg.dtype}
    events = read_log(path / LOG_FILE)
    records = [event for event in events if event["event"] == "step"]
    for event in events:
        if event["event"] == "stop":
            records[-1]["stopped"] = event["reason"]
    return UnlearningRun(load(path, **how, progress=False), preparation.config, records, path)


def _identity(model: HookedTransformer, preparation: Preparation, teacher: HookedTransformer | None) -> dict[str, Any]:
    """What has to be the same for two runs to give the same bits."""
    return {
        "config": preparation.config.to_dict(),
        "data": preparation.fingerprints,
        "model": _fingerprint(model) | {"dtype": _formats(model), "device": model.embed.W_E.device.type},
        "teacher": None if teacher is None else _fingerprint(teacher),
        "versions": versions(),
    }


def _formats(model: HookedTransformer) -> str:
    compute, stored = model.cfg.dtype, model.embed.W_E.dtype
    return str(compute) if compute == stored else f"{compute} of {stored}"


def _fingerprint(model: HookedTransformer) -> dict[str, Any]:
    info = getattr(model, "checkpoint", None)
    return {} if info is None else {"source": info.source, "fingerprint": info.fingerprint}


def _diverged(error: Diverged, trainer: Trainer, path: Path | None, save: str, save_dtype: str | None) -> DissectError:
    """What the user is told, once the last good model is where it can be found."""
    if path is None or error.good is None or trainer.files is None:
        if trainer.files is not None:
            trainer.files.remove()
        return DissectError(str(error))
    good = path.with_name(path.name + ".last-good")
    trainer.files.events(error.good)  # the log ends where the weights do
    write_model(trainer, good, save=save, dtype=save_dtype, overwrite=True)
    trainer.files.remove()
    return DissectError(f"{error}; the model as it was after {error.good} steps is in {good}")
