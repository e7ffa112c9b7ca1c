"""The end of a run: the trained model is written as a checkpoint or as an adapter, with its log."""

from collections.abc import Iterator
from pathlib import Path

import torch
from transformer_lens import HookedTransformer

from dissect.apart import check_apart
from dissect.distributed import on_main
from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.dtypes import find_dtype
from dissect.models.files.save import save_hf
from dissect.models.files.save_adapter import save_adapter
from dissect.models.sharding.sharded import is_sharded
from dissect.undoing.change import undone
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.parameters.masters import LowRank, Whole
from dissect.unlearning.run.run_files import LOG_FILE
from dissect.unlearning.run.trainer import Trainer

SAVED_AS = ("merged", "adapter")


def check_saved_as(config: TrainConfig, save: str) -> None:
    """Refuse a form that does not exist, or one that only adapters have.

    Raises:
        DissectError: either.
    """
    if save not in SAVED_AS:
        raise DissectError(f"save={save!r}: choose from {', '.join(SAVED_AS)}")
    if save == "adapter" and not config.lora_rank:
        raise DissectError("save='adapter' needs adapters: set lora_rank, e.g. 8")


def check_destination(
    model: HookedTransformer, path: Path, dtype: str | None, teacher: HookedTransformer | None = None
) -> None:
    """Refuse, before training, a destination that could not be written at its end.

    Raises:
        DissectError: the model was not loaded from a checkpoint, or ``path`` is no name, or is or holds that checkpoint
            or the teacher's.
    """
    if not path.name:
        raise DissectError(f"out must be a new directory, e.g. runs/unlearned, got {path}")
    if dtype is not None:
        find_dtype(dtype)
    info = checkpoint_or_none(model)
    if info is None:
        raise DissectError(
            "out= needs a model from dissect.load, which knows its checkpoint: load it, or leave out= out"
        )
    taught_by = None if teacher is None else checkpoint_or_none(teacher)
    read = {"model": info.directories, "teacher": () if taught_by is None else taught_by.directories}
    check_apart({"out": path}, read)


def write_model(trainer: Trainer, path: Path, *, save: str, dtype: str | None, overwrite: bool) -> None:
    """Write the trained model, completely or not at all, with the log of the run."""
    model, files = trainer.model, trainer.files
    assert files is not None
    sharded = is_sharded(model)
    once = on_main if sharded else (lambda function: function())
    extra = {LOG_FILE: once(lambda: (files.path / LOG_FILE).read_text(encoding="utf-8"))}
    if save == "adapter":
        factors = {master.name: master.factors for master in trainer.masters if isinstance(master, LowRank)}
        alpha = trainer.config.lora_alpha
        once(lambda: save_adapter(model, factors, alpha, path, overwrite=overwrite, extra=extra))
        return
    copies = any(not isinstance(master, Whole) for master in trainer.masters)
    if dtype is None and copies and model.cfg.dtype != torch.float64:
        dtype = "float32"
    with in_full(trainer):
        save_hf(model, path, overwrite=overwrite, dtype=dtype, extra=extra)


@undone
def in_full(trainer: Trainer) -> Iterator[None]:
    """Give the trained parameters, in the body, the values that AdamW stepped, unrounded.

    Sharded parameters have them anyway: they are in float32, or AdamW stepped them as they are.
    """
    if is_sharded(trainer.model):
        yield
        return
    parameters = dict(trainer.model.named_parameters())
    before = {master.name: parameters[master.name].data for master in trainer.masters}
    try:
        for master in trainer.masters:
            parameters[master.name].data = master.value()
        yield
    finally:
        for name, data in before.items():
            parameters[name].data = data
