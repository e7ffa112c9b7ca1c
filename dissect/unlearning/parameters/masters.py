"""Masters of parameters: the parameter itself, a float32 copy, a slice, or low-rank factors of its change.

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
    """Leaves by name, as they stand in a saved state of the run."""

    def pull(self) -> None:
        """Move the parameter's gradient of the last backward pass into the gradients of the leaves."""

    def push(self) -> None:
        """Give the parameter the value of the leaves."""

    def reset(self) -> None:
        """Give the parameter its value from before training, where that is kept; the leaves stay as they are."""

    def value(self) -> Tensor:
        """Return the parameter as the leaves have it, in float32 at least."""


def push(masters: Sequence[Master]) -> None:
    """Give every parameter the value of its leaves."""
    for master in masters:
        master.push()


class Whole:
    """A parameter that the optimiser steps directly."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name = name
        self.leaves: dict[str, Tensor] = {name: parameter}

    def pull(self) -> None:
        """Do nothing: the parameter is the leaf."""

    def push(self) -> None:
        """Do nothing: the parameter is the leaf."""

    def reset(self) -> None:
        """Do nothing: the value from before training is not kept."""

    def value(self) -> Tensor:
        """Return the parameter."""
        return self.leaves[self.name].detach()


class Copy:
    """A float32 copy of a parameter in a narrower dtype: steps smaller than that dtype's spacing add up."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name, self._parameter = name, parameter
        self.leaves = {name: _leaf(parameter.detach().float())}

    def pull(self) -> None:
        """Add the gradient up in float32 over backward passes; within one, autograd adds in bfloat16."""
        _add(self.leaves[self.name], _taken(self._parameter))

    def push(self) -> None:
        """Write the copy into the parameter, rounded to its dtype."""
        self._parameter.data.copy_(self.leaves[self.name].detach())

    def reset(self) -> None:
        """Do nothing: the value from before training is not kept."""

    def value(self) -> Tensor:
        """Return the copy."""
        return self.leaves[self.name].detach()


class Slice:
    """Some heads or neurons of a parameter: the entries ``members`` along ``axis``; all others stay bit for bit."""

    def __init__(self, name: str, parameter: nn.Parameter, axis: int, members: Sequence[int]) -> None:
        self.name, self._parameter, self._axis = name, parameter, axis
        self._index = torch.tensor(members, device=parameter.device)
        part = gathered(parameter).index_select(axis, self._index)
        self.leaves = {name: _leaf(part if part.dtype == torch.float64 else part.float())}

    def pull(self) -> None:
        """Add the gradient of these entries."""
        gradient = _taken(self._parameter)
        part = None if gradient is None else gathered(gradient).index_select(self._axis, self._index)
        _add(self.leaves[self.name], part)

    def push(self) -> None:
        """Write these entries into the parameter."""
        value = self.leaves[self.name].detach().to(self._parameter.dtype)
        whole = gathered(self._parameter)  # the parameter's own memory, where it is not sharded
        whole.index_copy_(self._axis, self._index, value)
        if is_shard(self._parameter):
            put(self._parameter, whole)

    def reset(self) -> None:
        """Do nothing: the values from before training are not kept."""

    def value(self) -> Tensor:
        """Return the whole parameter, with these entries in float32."""
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
        """Add the gradients of A and B, by the chain rule."""
        gradient = _taken(self._parameter)
        if gradient is None:
            return
        a, b = self.factors  # (r, in), (out, r)
        g = as_matrix(self.name, gathered(gradient)).to(a.dtype)  # (in, out)
        _add(a, self._scale * (g @ b.detach()).T)  # (r, in)
        _add(b, self._scale * (a.detach() @ g).T)  # (out, r)

    def push(self) -> None:
        """Write W0 and the product into the parameter, added in float32 and rounded once."""
        own_part(self._parameter).copy_(self.value())

    def value(self) -> Tensor:
        """Return W0 plus the product; of a sharded parameter, this rank's part."""
        a, b = (factor.detach() for factor in self.factors)
        product = self._scale * (b @ a).T  # (in, out)
        change = part_for(from_matrix(self.name, product, self._parameter), self._parameter)
        return self._before.to(change.dtype) + change

    def reset(self) -> None:
        """Switch the adapter off: write W0 into the parameter."""
        own_part(self._parameter).copy_(self._before)


def _leaf(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.preserve_format).requires_grad_()


def _taken(parameter: nn.Parameter) -> Tensor | None:
    """Take the gradient away from the parameter."""
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
