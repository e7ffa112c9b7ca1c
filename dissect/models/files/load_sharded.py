"""Weights from files straight into the shards of a model, so that no rank ever holds all of them.

Every rank maps the files and copies its part of each tensor; what the map shows of the others is not read. The
fingerprint needs all bytes once: the ranks share the tensors among them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.distributed import all_gather_objects
from dissect.errors import DissectError
from dissect.models.families.family import Family
from dissect.models.files.fingerprint import Digest, digest_of
from dissect.models.files.weight_files import WeightFiles, check_finite
from dissect.models.layout import constant_of
from dissect.models.sharding.sharded import Sharding
from dissect.models.sharding.shards import own_part, part_for
from dissect.undoing.gradient_mode import without_gradients


@without_gradients()
def materialise(model: HookedTransformer, device: torch.device) -> None:
    """Give the parameters of an empty sharded model memory, of this rank's parts alone; buffers keep their values."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


@without_gradients()
def fill_shards(
    files: WeightFiles, model: HookedTransformer, family: Family, config: Mapping[str, Any], *, progress: bool
) -> Digest:
    """Fill the parts that this rank holds, constants included, and take the fingerprint together with the others.

    Raises:
        DissectError: on every rank, if one of them finds the files damaged.
    """
    sharding: Sharding = model.sharding
    rank, size = sharding.share.rank, sharding.share.size
    digests: dict[str, str] = {}
    failure: str | None = None
    bar = tqdm(files.ordered(), desc="loading", unit="tensor", delay=1.0, disable=not progress or rank > 0)
    try:
        for number, weight in enumerate(bar):
            stored = files.read(weight)
            for param, part in zip(weight.params, weight.split(stored), strict=True):
                parameter = model.get_parameter(param)
                mine, wanted = own_part(parameter), part_for(part, parameter)
                mine.copy_(wanted)
                if mine.numel():
                    check_finite(mine, wanted, files.names[weight.name])
            if number % size == rank:
                digests[weight.name] = digest_of(stored)
            del stored
    except DissectError as error:
        failure = str(error)
    gathered = all_gather_objects((digests, failure))
    for _, said in gathered:
        if said is not None:
            raise DissectError(said)
    for name in frozenset(name for name, _ in model.named_parameters()) - files.params:
        parameter, value = model.get_parameter(name), constant_of(family, name)
        assert value is not None  # as in a model that is not sharded
        own_part(parameter).fill_(value)
        parameter.requires_grad_(False)
    digest = Digest(config)
    every = {name: said for tensors, _ in gathered for name, said in tensors.items()}
    digest.tensors.update({weight.name: every[weight.name] for weight in files.ordered()})
    return digest
