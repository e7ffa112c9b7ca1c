"""Rounding weights to few bits: which of the levels that a quantised model can hold each weight falls on.

Matrices are given with one output channel a row, as ``nn.Linear`` stores them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NF4_BLOCK = 64
"""Weights that share one scale, as in bitsandbytes."""
_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The levels of NormalFloat 4 (Dettmers et al. 2023, arXiv:2305.14314, appendix E)."""


def int8_levels(matrix: Float[Tensor, "out in"]) -> Int[Tensor, "out in"]:
    """Round to nearest with one scale a row: round(127 w / max |w|), -127 to 127."""
    high = matrix.float()
    scale = high.abs().amax(1, keepdim=True)
    return (high * (127 / scale.where(scale > 0, 1.0))).round().to(torch.int8)


def nf4_levels(matrix: Float[Tensor, "out in"]) -> Int[Tensor, "out in"]:
    """The nearest of the 16 levels of NF4, 0 to 15, with one scale for every 64 weights along a row and on to the next.

    What is left over at the end has a scale of its own.
    """
    flat = matrix.float().reshape(-1)
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % NF4_BLOCK)).view(-1, NF4_BLOCK)
    scale = padded.abs().amax(1, keepdim=True)
    levels = torch.tensor(_NF4, device=matrix.device)
    borders = (levels[1:] + levels[:-1]) / 2
    found = torch.bucketize(padded / scale.where(scale > 0, 1.0), borders)
    return found.reshape(-1)[: len(flat)].view(matrix.shape).to(torch.int8)
