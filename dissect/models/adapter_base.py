"""Which base model an adapter is merged into: the one it records, one that is given, or the base of a pair."""

import logging
import os

from transformer_lens import HookedTransformer

from dissect.models.checkpoint import CheckpointInfo, checkpoint_or_none
from dissect.models.files.adapter import has_adapter, is_adapter
from dissect.models.files.hub import resolve
from dissect.models.files.weight_files import BaseUnavailable, locate

Source = str | os.PathLike[str]

logger = logging.getLogger(__name__)


def adapter_base_of(
    source: Source, *, given: Source | None = None, stand_in: Source | HookedTransformer | None = None
) -> Source | None:
    """Find the ``base`` of ``dissect.load`` for ``source``; None for a whole checkpoint or an adapter with its own.

    Args:
        source: a directory, a hub id or an adapter.
        given: the base of every adapter, whatever it records.
        stand_in: a whole checkpoint that takes the place of a recorded base that cannot be had or is stored in 4 bits,
            which the log then says; for instance the base of the pair.

    Raises:
        DissectError: no such checkpoint, or nothing can take the place of a base that cannot be had.
    """
    if given is not None:
        return given if has_adapter(resolve(source)) else None
    if stand_in is None:
        return None
    try:
        locate(source)
    except BaseUnavailable as error:
        whole = _whole_checkpoint(stand_in)
        if whole is None:
            raise
        logger.warning("%s; %s, the base of the comparison, takes its place", error.why, whole)
        return whole
    return None


def _whole_checkpoint(base: Source | HookedTransformer) -> Source | None:
    if not isinstance(base, HookedTransformer):
        return None if is_adapter(resolve(base)) else base
    info = checkpoint_or_none(base)
    return info.path if isinstance(info, CheckpointInfo) and info.on_disk and info.adapter is None else None
