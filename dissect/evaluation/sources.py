"""The checkpoints to measure: their names, and marks that tell whether their files have changed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_of, checkpoint_or_none
from dissect.models.files.fingerprint import digest_of
from dissect.models.files.hub import resolve
from dissect.models.sharding.sharded import is_sharded

CheckpointSource: TypeAlias = str | os.PathLike[str] | HookedTransformer
_CONFIGS = ("config.json", "adapter_config.json")
"""Files of which every checkpoint has one."""


def named(models: Any) -> dict[str, CheckpointSource]:
    """Return checkpoints by name, from one checkpoint, several, or a mapping.

    A directory is named by its last part, or its last two or three where that is ambiguous; a loaded model by the
    directory it came from.

    Raises:
        DissectError: no checkpoint, something else than a checkpoint, or two of one name.
    """
    if isinstance(models, Mapping):
        sources = {str(name): source for name, source in models.items()}
    else:
        several = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
        for n_parts in (1, 2, 3):
            names = [_name(source, n_parts) for source in several]
            if len(set(names)) == len(names):
                break
        else:
            twice = next(name for name in names if names.count(name) > 1)
            raise DissectError(f"two checkpoints are called {twice!r}: give them as a mapping from names")
        sources = dict(zip(names, several, strict=True))
    if not sources:
        raise DissectError("no checkpoint to measure: give at least one")
    for name, source in sources.items():
        if not isinstance(source, (str, os.PathLike, HookedTransformer)):
            raise DissectError(
                f"checkpoint {name!r} must be a directory or a loaded model, got {type(source).__name__}"
            )
    return sources


def check_there(sources: Iterable[CheckpointSource | None]) -> None:
    """Find every checkpoint that is a path or a hub id, before anything is kept of work on the others.

    Raises:
        DissectError: one that is not there, or is no checkpoint.
    """
    for source in sources:
        if source is None or isinstance(source, HookedTransformer):
            continue
        directory = resolve(source, only=list(_CONFIGS))
        if not any((directory / name).is_file() for name in _CONFIGS):
            raise DissectError(f"{source} has no config.json: it is not a Hugging Face checkpoint")


def place(source: CheckpointSource) -> str | None:
    """Return where a checkpoint lies; None for a model that did not come from files or was changed since."""
    if not isinstance(source, HookedTransformer):
        return os.path.realpath(source) if Path(source).exists() else str(source)
    info = checkpoint_or_none(source)
    return os.path.realpath(info.path) if info is not None and info.on_disk else None


def signature(source: CheckpointSource) -> list[Any] | None:
    """Return names, sizes and times of a checkpoint's files; None where it is no local directory."""
    path = None if isinstance(source, HookedTransformer) else Path(source)
    if path is None or not path.is_dir():
        return None
    return [[str(path.resolve())], *sorted([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in path.iterdir())]


def weights(model: HookedTransformer) -> list[str]:
    """Return digests of a loaded model's weights, and the points with hooks; what those do cannot be known."""
    if is_sharded(model):  # the same on all ranks, each of which has a part of the weights
        held = [checkpoint_of(model).fingerprint]
    else:
        held = [f"{name} {digest_of(value.detach().cpu())}" for name, value in model.named_parameters()]
    return held + [name for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]


def _name(source: Any, n_parts: int) -> str:
    if isinstance(source, HookedTransformer):
        info = checkpoint_or_none(source)
        source = "model" if info is None else info.path
    return "/".join(Path(os.path.normpath(str(source))).parts[-n_parts:])
