"""What the optimiser steps: float32 copies of parameters, slices of them, or low-rank factors of their change.

A *master* owns one or more leaf tensors and one parameter of the model. After a backward pass ``pull`` turns the
parameter's gradient into the leaves'; after a step ``push`` writes the leaves' value into the parameter. Hooks, caches
and sweeps therefore see ordinary weights, whatever is trained, and weight decay acts on nothing but the leaves.

Of a sharded parameter the leaf of ``Whole`` is sharded as well; those of ``Slice`` and ``LowRank``, which are small,
are the same on every rank, and the gradient that they need is gathered one parameter at a time.
"""

import zlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dissect.models.axes import as_matrix, from_matrix
from dissect.models.sharding.shards import gathered, is_shard, own_part, part_for, put


@runtime_checkable
class Master(Protocol):
    """One parameter and the leaves that stand for it."""

    name: str
    leaves: dict[str, Tensor]
    """By name, as they stand in a checkpoint of the run."""

    def pull(self) -> None:
        """Add what the last backward pass gave the parameter to the gradients of the leaves."""

    def push(self) -> None:
        """Give the parameter the value of the leaves."""

    def reset(self) -> None:
        """Give the parameter the value from before training, where that is known; the leaves stay."""

    def value(self) -> Tensor:
        """What the parameter would be if its format were no narrower than float32."""


class Whole:
    """A parameter that the optimiser steps itself."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name = name
        self.leaves: dict[str, Tensor] = {name: parameter}

    def pull(self) -> None:
        """The gradient is where it belongs."""

    def push(self) -> None:
        """The value is where it belongs."""

    def reset(self) -> None:
        """What it was is not kept."""

    def value(self) -> Tensor:
        """As it is."""
        return self.leaves[self.name].detach()


class Copy:
    """A float32 copy of a parameter in a narrower format: steps smaller than that format's spacing add up."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name, self._parameter = name, parameter
        self.leaves = {name: _leaf(parameter.detach().float())}

    def pull(self) -> None:
        """What different backward passes leave is added up in float32; within one, autograd adds in bfloat16."""
        _add(self.leaves[self.name], _taken(self._parameter))

    def push(self) -> None:
        """Round to the parameter's format."""
        self._parameter.data.copy_(self.leaves[self.name].detach())

    def reset(self) -> None:
        """What it was is not kept."""

    def value(self) -> Tensor:
        """The copy."""
        return self.leaves[self.name].detach()


class Slice:
    """Some heads or neurons of a parameter: the entries ``members`` along ``axis``; all others stay bit for bit."""

    def __init__(self, name: str, parameter: nn.Parameter, axis: int, members: Sequence[int]) -> None:
        self.name, self._parameter, self._axis = name, parameter, axis
        self._index = torch.tensor(members, device=parameter.device)
        part = gathered(parameter).index_select(axis, self._index)
        self.leaves = {name: _leaf(part if part.dtype == torch.float64 else part.float())}

    def pull(self) -> None:
        """The gradient of these entries."""
        gradient = _taken(self._parameter)
        part = None if gradient is None else gathered(gradient).index_select(self._axis, self._index)
        _add(self.leaves[self.name], part)

    def push(self) -> None:
        """Write these entries."""
        value = self.leaves[self.name].detach().to(self._parameter.dtype)
        whole = gathered(self._parameter)  # the parameter's own memory, where it is not sharded
        whole.index_copy_(self._axis, self._index, value)
        if is_shard(self._parameter):
            put(self._parameter, whole)

    def reset(self) -> None:
        """What they were is not kept."""

    def value(self) -> Tensor:
        """The whole parameter, with these entries in float32."""
        part = self.leaves[self.name].detach()
        return gathered(self._parameter).to(part.dtype, copy=True).index_copy_(self._axis, self._index, part)


class LowRank:
    """W = W0 + s · B A of rank r with s = alpha / r (Hu et al. 2021, arXiv:2106.09685), A (r, in) and B (out, r).

    B starts at zero and A as in PEFT, uniform within ±1/sqrt(in). The gradients are those of the product:
    dL/dA = s · Bᵀ G and dL/dB = s · G Aᵀ for the gradient G (out, in) of W. There is no dropout in front of A: the
    adapter acts on the weights and not on an input of its own.
    """

    def __init__(self, name: str, parameter: nn.Parameter, rank: int, alpha: float, seed: int) -> None:
        self.name, self._parameter, self._scale = name, parameter, alpha / rank
        # a copy in the order of the parameter's own axes in memory
        self._before = own_part(parameter).clone(memory_format=torch.preserve_format)
        n_in, n_out = as_matrix(name, torch.empty(parameter.shape, device="meta")).shape
        high = torch.promote_types(parameter.dtype, torch.float32)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        first = (torch.rand(rank, n_in, generator=generator, dtype=high) * 2 - 1) / n_in**0.5
        self.leaves = {
            f"{name}.lora_A": _leaf(first.to(parameter.device)),
            f"{name}.lora_B": _leaf(torch.zeros(n_out, rank, dtype=high, device=parameter.device)),
        }

    @property
    def factors(self) -> tuple[Float[Tensor, "r n_in"], Float[Tensor, "n_out r"]]:
        """A and B."""
        a, b = self.leaves.values()
        return a, b

    def pull(self) -> None:
        """By the chain rule."""
        gradient = _taken(self._parameter)
        if gradient is None:
            return
        a, b = self.factors
        g = as_matrix(self.name, gathered(gradient)).to(a.dtype)  # (in, out)
        _add(a, self._scale * (g @ b.detach()).T)
        _add(b, self._scale * (a.detach() @ g).T)

    def push(self) -> None:
        """W0 and the product, added in float32 and rounded once."""
        own_part(self._parameter).copy_(self.value())

    def value(self) -> Tensor:
        """W0 and the product; of a sharded parameter this rank's part."""
        a, b = (factor.detach() for factor in self.factors)
        change = part_for(from_matrix(self.name, self._scale * (b @ a).T, self._parameter), self._parameter)
        return self._before.to(change.dtype) + change

    def reset(self) -> None:
        """Switch the adapter off."""
        own_part(self._parameter).copy_(self._before)


def _leaf(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.preserve_format).requires_grad_()


def _taken(parameter: nn.Parameter) -> Tensor | None:
    """The gradient of the parameter, which thereby has none."""
    gradient, parameter.grad = parameter.grad, None
    return gradient


def _add(leaf: Tensor, gradient: Tensor | None) -> None:
    if gradient is None:
        return
    if leaf.grad is None:
        # In the leaf's own order in memory: the fused AdamW walks through both without looking at their strides.
        leaf.grad = torch.empty_like(leaf).copy_(gradient)
    else:
        leaf.grad.add_(gradient)
