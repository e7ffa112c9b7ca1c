"""Checks that every question needs: two models, and prompts that they can run."""

import logging
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.checkpoint import CheckpointInfo
from dissect.models.pair import ModelPair

log = logging.getLogger(__name__)


def check_inputs(pair: Any, prompts: Any) -> None:
    """Refuse anything but a pair and at least one prompt, before anything else is looked at.

    Raises:
        DissectError: with what was given and how to make what is needed.
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"the first argument must be a pair, got {type(pair).__name__}: load_pair(base, unlearned)")
    if not isinstance(prompts, Prompts):
        remedy = "facts.prompts(pair.base)" if isinstance(prompts, Facts) else "Facts([...]).prompts(pair.base)"
        raise DissectError(f"the second argument must be prompts, got {type(prompts).__name__}: {remedy}")
    if not len(prompts):
        raise DissectError("there are no prompts: give at least one (none was selected, or the facts were empty)")


def check_different(pair: ModelPair, donor: str, recipient: str, *, kept: bool) -> None:
    """Refuse to keep a sweep between two models with the same weights: all its recoveries would be NaN.

    Where nothing is kept a line in the log says so, but for one model object in both roles: that is how a swap is
    checked for changing nothing.

    Args:
        kept: whether the result is written to a file.

    Raises:
        DissectError: the two are the same checkpoint, and the result would be kept.
    """
    models = pair.shapes(donor, recipient)
    if not _same(*models) or (models[0] is models[1] and not kept):
        return
    paths = {str(info.path) for model in models if (info := getattr(model, "checkpoint", None)) is not None}
    message = (
        f"{donor} and {recipient} are the same checkpoint, with the same weights ({' and '.join(sorted(paths))}), so "
        "there is nothing to recover: give the checkpoints before and after unlearning"
    )
    if kept:
        raise DissectError(message)
    log.warning(message)


def _same(donor: HookedTransformer, recipient: HookedTransformer) -> bool:
    if donor is recipient:
        return True
    infos = [getattr(model, "checkpoint", None) for model in (donor, recipient)]
    marks = [(info.fingerprint, info.quantised) if isinstance(info, CheckpointInfo) else None for info in infos]
    return marks[0] is not None and marks[0] == marks[1]


def check_run(model: HookedTransformer, prompts: Prompts, batch_size: int) -> None:
    """Refuse what cannot be run.

    Raises:
        DissectError: a batch size below one, or a prompt longer than the context.
    """
    if batch_size < 1:
        raise DissectError(f"batch_size={batch_size}: at least one prompt must be in a batch")
    longest = int(prompts.lengths.max())
    if longest > model.cfg.n_ctx:
        raise DissectError(f"a prompt of {longest} tokens is longer than the context of {model.cfg.n_ctx}")
