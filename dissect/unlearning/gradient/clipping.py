"""Clipping of a gradient of which every rank may have only a part."""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from dissect.distributed import summed
from dissect.models.sharding.shards import is_shard, own_part


def clip_gradients(leaves: Collection[Tensor], most: int | float) -> float:
    """Scale the gradients of all leaves together down to norm ``most``, where theirs is larger; return it unclipped.

    The norm is that of the whole gradient, whichever part of it this rank has.
    """
    if not any(is_shard(leaf) for leaf in leaves):
        return float(torch.nn.utils.clip_grad_norm_(list(leaves), most))
    parts = [own_part(leaf.grad) for leaf in leaves if leaf.grad is not None]
    square = sum(float(part.double().square().sum()) for part in parts)
    sharded = next(leaf for leaf in leaves if is_shard(leaf))
    mesh = sharded.device_mesh  # type: ignore[attr-defined]
    copies = math.prod(mesh.size(axis) for axis in range(mesh.ndim - 1))  # of the model, whose gradients are alike
    norm = math.sqrt(summed([square])[0] / copies)
    factor = most / (norm + 1e-6)  # as torch has it
    if not factor >= 1:  # NaN as well, which the caller sees in the norm
        for part in parts:
            part.mul_(factor)
    return norm
