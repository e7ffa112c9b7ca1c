"""Does what the files hold fit what the configuration says? Asked before anything is read."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dissect.errors import DissectError
from dissect.models.accounting import DTYPE_BYTES
from dissect.models.families.family import BUFFERS, Family
from dissect.models.families.weights import Weight
from dissect.models.files.headers import Headers
from dissect.models.naming import stored_names, without_wrapper

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

    from dissect.models.files.reader import TensorSource


def check_names(source: "TensorSource", weights: list[Weight], family: Family, *, tied: bool) -> dict[str, str]:
    """The name in the files of every tensor of the map, as ``fitting_names`` finds it.

    Raises:
        DissectError: as ``fitting_names``, or a second output head differs from the tied embedding.
    """
    names, second = fitting_names(source.names(), weights, family, tied=tied)
    if second is not None:
        import torch

        if not torch.equal(source.read(second), source.read(names[family.prefix + family.embedding])):
            raise DissectError(
                f"config.json ties the output head to the embedding, but {second} differs from it: "
                "set tie_word_embeddings to false in config.json, or remove that tensor"
            )
    return names


def fitting_names(
    stored_tensors: Iterable[str], weights: list[Weight], family: Family, *, tied: bool
) -> tuple[dict[str, str], str | None]:
    """The name in the files of every tensor of the map, and that of an output head beside the embedding that it is.

    Prefixes that a wrapper left are taken off, checkpoints of the bare model have none, and a tied model may be stored
    under the name of its output head alone.

    Raises:
        DissectError: tensors are missing or left over.
    """
    present = set(stored_tensors)
    stored = stored_names(present, weights, family, tied=tied)
    names, head = {weight.name: stored[weight.name] for weight in weights}, stored[family.head]
    extra = {name for name in present - set(names.values()) if not _passed_over(name, family)}
    missing = [name for name in names.values() if name not in present]
    if missing:
        instead = f"; they hold {_listed(sorted(extra))} instead" if extra else ""
        raise DissectError(f"the weights lack {_listed(missing)}, which {family.architecture} needs{instead}")
    second = head if tied and head in extra else None
    if extra := extra - {second}:
        raise DissectError(f"the weights hold {_listed(sorted(extra))}, which {family.architecture} does not have")
    return names, second


def carried_names(source: "TensorSource", family: Family) -> dict[str, str]:
    """Tensors beside the language model that are saved along as they were: name to write, by name in the files."""
    if not family.carried:
        return {}
    return {name: re.sub(family.carried, "", name) for name in source.names() if re.match(family.carried, name)}


def _passed_over(name: str, family: Family) -> bool:
    plain = without_wrapper(name)
    return bool(BUFFERS.search(plain) or (family.carried and re.match(family.carried, plain)))


def check_dtypes(source: "TensorSource | Headers", names: Iterable[str]) -> str:
    """The dtype that most of the weights are stored in.

    Raises:
        DissectError: a tensor in anything but a floating-point format of 16 bits or more.
    """
    seen: Counter[str] = Counter()
    for name in names:
        dtype = source.dtype(name)
        if dtype not in DTYPE_BYTES:
            raise DissectError(
                f"{name} is stored as {dtype}: quantised weights are not supported, only {', '.join(DTYPE_BYTES)}"
            )
        seen[dtype] += math.prod(source.shape(name))
    return seen.most_common(1)[0][0]


def check_shapes(
    model: "HookedTransformer", weights: list[Weight], source: "TensorSource", stored_names: Mapping[str, str]
) -> None:
    """Refuse tensors whose shape is not what the configuration says."""
    for weight in weights:
        expected = tuple(weight.join([model.get_parameter(name) for name in weight.params]).shape)
        shape = source.shape(stored_names[weight.name])
        if shape != expected:
            raise DissectError(
                f"{stored_names[weight.name]} has shape {list(shape)}, config.json says {list(expected)}"
            )


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
