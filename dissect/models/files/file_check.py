"""Does what the files hold fit what the configuration says? Asked before anything is read."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.dtypes import DTYPES
from dissect.models.families.family import BUFFERS, Family
from dissect.models.families.weights import Weight
from dissect.models.files.reader import TensorSource


def check_names(source: TensorSource, weights: list[Weight], family: Family, *, tied: bool) -> dict[str, str]:
    """The name in the files of every tensor of the map.

    Checkpoints of the bare model have no prefix, and GPT-NeoX's output head has two names.

    Raises:
        DissectError: tensors are missing or left over, or a second output head differs from the tied embedding.
    """
    present = set(source.names())
    bare = not any(name.startswith(family.prefix) for name in present)

    def stored(name: str) -> str:
        if name == family.head:
            return "lm_head.weight" if "lm_head.weight" in present else name
        return name.removeprefix(family.prefix) if bare else name

    names = {weight.name: stored(weight.name) for weight in weights}
    missing = [name for name in names.values() if name not in present]
    if missing:
        raise DissectError(f"the weights lack {_listed(missing)}, which {family.architecture} needs")
    extra = {name for name in present - set(names.values()) if not BUFFERS.search(name)}
    head = stored(family.head)
    if tied and head in extra:
        extra.remove(head)
        if not torch.equal(source.read(head), source.read(stored(family.prefix + family.embedding))):
            raise DissectError(
                f"config.json ties the output head to the embedding, but {head} differs from it: "
                "set tie_word_embeddings to false in config.json, or remove that tensor"
            )
    if extra:
        raise DissectError(f"the weights hold {_listed(sorted(extra))}, which {family.architecture} does not have")
    return names


def check_dtypes(source: TensorSource, names: Iterable[str]) -> str:
    """The dtype that most of the weights are stored in.

    Raises:
        DissectError: a tensor in anything but a floating-point format of 16 bits or more.
    """
    seen: Counter[str] = Counter()
    for name in names:
        found = source.dtype(name)
        if found not in DTYPES:
            raise DissectError(
                f"{name} is stored as {found}: quantised weights are not supported, only {', '.join(DTYPES)}"
            )
        seen[found] += math.prod(source.shape(name))
    return seen.most_common(1)[0][0]


def check_shapes(
    model: HookedTransformer, weights: list[Weight], source: TensorSource, stored_names: Mapping[str, str]
) -> None:
    """Refuse tensors whose shape is not what the configuration says."""
    for weight in weights:
        expected = tuple(weight.join([model.get_parameter(name) for name in weight.params]).shape)
        found = source.shape(stored_names[weight.name])
        if found != expected:
            raise DissectError(
                f"{stored_names[weight.name]} has shape {list(found)}, config.json says {list(expected)}"
            )


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
