"""Checks that every question needs: two models, and prompts that they can run."""

import logging
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.pair import ModelPair
from dissect.models.sharding.shards import is_shard

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
    """Return True if two models have the same weights, whatever else their files say: dtype, context, layout."""
    if donor is recipient:
        return True
    infos = [info for model in (donor, recipient) if (info := checkpoint_or_none(model)) is not None]
    if len(infos) == 2 and infos[0].quantised == infos[1].quantised:
        if infos[0].fingerprint == infos[1].fingerprint:
            return True
        if all(info.on_disk for info in infos) and infos[0].digests == infos[1].digests:
            return True
    pairs = list(zip(donor.parameters(), recipient.parameters(), strict=False))
    if any(each.is_meta or is_shard(each) for pair in pairs for each in pair):
        return False  # parts of models, or none: the fingerprints have to do
    return all(mine.shape == other.shape and mine.device == other.device and mine.equal(other) for mine, other in pairs)


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
