"""Unlearning in one call: facts in, a forgetful checkpoint out."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.files import atomic_file, check_new_directory
from dissect.models.checkpoint import mark_changed
from dissect.models.save import save_hf
from dissect.provenance import versions
from dissect.unlearning.config import TrainConfig
from dissect.unlearning.trainer import Callback, Record, Trainer

LOG_FILE = "unlearning.json"
"""Written beside the weights: the configuration and the record of every step."""


@dataclass(frozen=True)
class UnlearningRun:
    """What came out of a run."""

    model: HookedTransformer
    """The model that was given, now trained."""
    config: TrainConfig
    records: list[Record]
    """One a step."""
    path: Path | None
    """The checkpoint's directory, if it was written."""


def unlearn(
    model: HookedTransformer,
    *,
    forget: Facts | Prompts,
    retain: Facts | Prompts | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    callback: Callback | None = None,
    progress: bool = True,
    config: TrainConfig | None = None,
    **settings: Any,
) -> UnlearningRun:
    """Train ``model`` in place to forget, and write it to ``out`` as a Hugging Face directory if asked.

    The answers of the facts are unlearned, given their questions; of plain texts, everything after the first token.

    Args:
        model: from ``dissect.load``, in float32. It is changed; load the base model again to compare.
        forget: what to forget; as facts, the default template is used.
        retain: refused by methods that use no retained facts, such as ``ga``.
        settings: fields of ``TrainConfig`` (``method``, ``lr``, ``epochs``, ...), or give a whole ``config``.

    Raises:
        DissectError: a setting that does not exist or is out of range, an ``out`` that is taken, a loss that is no
            longer finite.
    """
    config = _config(config, settings)
    if retain is not None:
        raise DissectError(f"method {config.method!r} uses no retained facts: leave retain out")
    if out is not None:
        check_new_directory(out, overwrite=overwrite)
        _check_not_itself(model, Path(out))
    prompts = forget if isinstance(forget, Prompts) else forget.prompts(model)
    info = getattr(model, "checkpoint", None)
    made_from = {
        "model": None if info is None else info.source,
        "model_fingerprint": None if info is None else info.fingerprint,
        "forget_fingerprint": prompts.fingerprint(),
        "n_forget": len(prompts),
    }
    mark_changed(model, f"{config} {prompts.fingerprint()}")
    records = Trainer(model, prompts, config, callback).run(progress=progress)
    path = None
    if out is not None:
        record = {**made_from, "config": config.to_dict(), "versions": versions(), "steps": records}
        path = save_hf(model, out, overwrite=overwrite)
        with atomic_file(path / LOG_FILE) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
    return UnlearningRun(model, config, records, path)


def _check_not_itself(model: HookedTransformer, out: Path) -> None:
    info = getattr(model, "checkpoint", None)
    if info is not None and out.resolve() == info.path.resolve():
        raise DissectError(f"{out} is the model that is trained: choose another name, or the base model is lost")


def _config(config: TrainConfig | None, settings: dict[str, Any]) -> TrainConfig:
    if config is not None and settings:
        raise DissectError(f"give either config or single settings, not both ({', '.join(settings)})")
    unknown = sorted(set(settings) - set(TrainConfig.__dataclass_fields__))
    if unknown:
        raise DissectError(f"no setting {unknown[0]!r}: choose from {', '.join(TrainConfig.__dataclass_fields__)}")
    return config or TrainConfig(**settings)
