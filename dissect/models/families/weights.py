"""The map between the tensors of a checkpoint and the parameters of a hooked model: written once, used both ways."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from einops import rearrange
from jaxtyping import Shaped

if TYPE_CHECKING:
    from torch import Tensor
else:  # a map can be looked at without torch
    Tensor = Any


@dataclass(frozen=True)
class Weight:
    """One tensor of the checkpoint and the parameters that it holds.

    ``pattern`` rearranges the stored tensor into the shape of the parameters (einops, stored -> hooked); where several
    parameters share the tensor, they then lie behind each other along ``axis``. Nothing but the order of the elements
    ever changes, so that joining what was split gives the stored tensor bit for bit.
    """

    name: str
    """Name in transformers."""
    params: tuple[str, ...]
    """Names in ``HookedTransformer.named_parameters``."""
    pattern: str
    lengths: dict[str, int] = field(default_factory=dict)
    """Axes of the pattern that its left side leaves open, for example the width of a head."""
    sizes: tuple[int, ...] = ()
    """Extent of each parameter along ``axis``; empty where the tensor holds one."""
    axis: int = 0
    fan_in_first: bool = False
    """True if a matrix is stored as (in, out): the ``Conv1D`` of GPT-2, against the ``Linear`` of everything else."""

    def split(self, stored: Shaped[Tensor, "..."]) -> list[Shaped[Tensor, "..."]]:
        """The parameters in ``stored``, as views of it, in the order of ``params``."""
        hooked = rearrange(stored, self.pattern, **self.lengths)
        return list(hooked.split(self.sizes, dim=self.axis)) if self.sizes else [hooked]

    def join(self, hooked: Sequence[Shaped[Tensor, "..."]]) -> Shaped[Tensor, "..."]:
        """The stored tensor, from the parameters in the order of ``params``; a view where it holds only one."""
        import torch

        whole = torch.cat(list(hooked), dim=self.axis) if self.sizes else hooked[0]
        left, right = self.pattern.split("->")
        return rearrange(whole, f"{right} -> {left}", **self.lengths)


def vector(name: str, param: str) -> Weight:
    """A bias or the weight of a norm."""
    return Weight(name, (param,), "d -> d")


def table(name: str, param: str) -> Weight:
    """An embedding: one row a token or a position, in both."""
    return Weight(name, (param,), "row d_model -> row d_model")


def linear(name: str, param: str) -> Weight:
    """An ``nn.Linear``, stored (out, in)."""
    return Weight(name, (param,), "d_out d_in -> d_in d_out")


def conv1d(name: str, param: str) -> Weight:
    """A ``Conv1D`` of GPT-2, stored (in, out)."""
    return Weight(name, (param,), "d_in d_out -> d_in d_out", fan_in_first=True)


def into_heads(name: str, param: str, d_head: int) -> Weight:
    """The ``nn.Linear`` of queries, keys or values: its output is cut into heads."""
    return Weight(name, (param,), "(n h) d_model -> n d_model h", {"h": d_head})


def head_bias(name: str, param: str, d_head: int) -> Weight:
    """The bias of queries, keys or values."""
    return Weight(name, (param,), "(n h) -> n h", {"h": d_head})


def out_of_heads(name: str, param: str, d_head: int) -> Weight:
    """The ``nn.Linear`` that adds up the heads."""
    return Weight(name, (param,), "d_model (n h) -> n h d_model", {"h": d_head})
