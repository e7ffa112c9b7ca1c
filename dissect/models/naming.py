"""The names of a checkpoint's tensors in its files, whatever wrote them there.

Training frameworks wrap models and leave their mark in front of every name (``module.``, ``_orig_mod.``,
``base_model.model.``) or within it; some files leave out the prefix of the model, or have it under another name.
"""

import logging
import re
from collections.abc import Collection, Iterable, Sequence

from dissect.errors import DissectError
from dissect.models.families.family import Family
from dissect.models.families.weights import Weight

_INNER = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Prefixes that ``torch.compile``, FSDP and activation checkpointing put before names in the modules they wrap."""

logger = logging.getLogger(__name__)


def stored_names(present: Iterable[str], weights: Sequence[Weight], family: Family, *, tied: bool) -> dict[str, str]:
    """The most likely name in the files of every tensor of the map, and of the output head where it is tied.

    A name that is not in ``present`` is the one that was looked for. A tied model may be stored under the name of its
    head alone, which then is the name of its embedding.

    Raises:
        DissectError: a tensor is stored twice, once with and once without the mark of a wrapper.
    """
    by_name: dict[str, str] = {}
    for stored in present:
        name = _INNER.sub("", stored)
        if name in by_name:
            raise DissectError(f"the weights hold {by_name[name]} and {stored}, two spellings of one tensor")
        by_name[name] = stored
    outer, prefix = _spelling(by_name, family, tied=tied)
    if outer:
        logger.warning("the names of the weights begin with %r, which a wrapper left there: taken without it", outer)

    def stored_name(name: str) -> str:
        ways = [name, *family.other_heads] if name == family.head else [name]
        if name.startswith(family.prefix) and name != family.head:
            ways = [prefix + name.removeprefix(family.prefix)]
        present_ways = [outer + way for way in ways if outer + way in by_name]
        wanted = present_ways[0] if present_ways else outer + ways[0]
        return by_name.get(wanted, wanted)

    names = {name: stored_name(name) for name in [*(weight.name for weight in weights), family.head]}
    embedding = family.prefix + family.embedding
    if tied and names[embedding] not in by_name.values() and names[family.head] in by_name.values():
        names[embedding] = names[family.head]
    return names


def without_wrapper(name: str) -> str:
    """A stored name without the marks of wrappers within it."""
    return _INNER.sub("", name)


def _spelling(names: Collection[str], family: Family, *, tied: bool) -> tuple[str, str]:
    """Find the prefix that a wrapper left before all names, and the model's own, from the embedding's name."""
    prefixes = (family.prefix, *family.other_prefixes, "")
    ways = [(prefix + family.embedding, prefix) for prefix in prefixes]
    heads = [(head, family.prefix) for head in (family.head, *family.other_heads)] if tied else []
    for ending, prefix in [*ways, *heads]:
        for name in names:
            outer = name.removesuffix(ending)
            if name.endswith(ending) and (outer == "" or outer.endswith(".")):
                if (ending, prefix) in heads and not any(each.startswith(outer + prefix) for each in names):
                    prefix = next((p for p in prefixes[1:] if any(n.startswith(outer + p) for n in names)), "")
                return outer, prefix
    return "", family.prefix
