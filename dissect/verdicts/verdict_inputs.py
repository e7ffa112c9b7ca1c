"""Inputs of a verdict, in the forms that users have them: checkpoints, pairs and facts."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.evaluation.checkpoint_loading import BASE, RETRAINED
from dissect.evaluation.sources import CheckpointSource, named
from dissect.models.pair import ModelPair


def sources_given(
    checkpoints: Any, base: Any, retrained: Any
) -> tuple[CheckpointSource, dict[str, CheckpointSource], CheckpointSource | None]:
    """The base model, the others by name, and the retrained one."""
    if isinstance(checkpoints, ModelPair):
        if base is not None:
            raise DissectError("the pair has a base model of its own: leave base out")
        pair = checkpoints
        beside = retrained if retrained is not None else pair.retrained
        examined = named([pair.unlearned])
        names = {name if name not in (BASE, RETRAINED) else "unlearned": source for name, source in examined.items()}
        return pair.base, names, beside
    if base is None:
        several = not isinstance(checkpoints, (str, os.PathLike, HookedTransformer, Mapping))
        if not (several and isinstance(checkpoints, Sequence) and len(checkpoints) > 1):
            raise DissectError("there is no base model to compare with: pass base=..., or a list that begins with it")
        base, *checkpoints = checkpoints
    examined = named(checkpoints)
    if twice := sorted({BASE, RETRAINED} & set(examined)):
        if isinstance(checkpoints, Mapping):
            raise DissectError(f"{twice[0]!r} is the name of a role: give the checkpoint another")
        examined = {f"{name} (checkpoint)" if name in twice else name: source for name, source in examined.items()}
    return base, examined, retrained


def facts_given(name: str, source: Any) -> Facts:
    """Facts, a file of them, or none."""
    if source is None:
        return Facts()
    if isinstance(source, (str, os.PathLike)):
        return Facts.read(source)
    if isinstance(source, Facts):
        return source
    if isinstance(source, Iterable):
        return Facts(source)
    raise DissectError(f"{name} must be Facts or a file of them, got {type(source).__name__}: use Facts.read")
