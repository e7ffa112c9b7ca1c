"""Rounding weights to few bits: which of the levels that a quantised model can hold each weight falls on.

Matrices are given with one output channel a row, as ``nn.Linear`` stores them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

FORMATS = ("int8", "int4", "nf4")
INT4_GROUP = 128
"""Weights along a row that share one scale, as GPTQ and AWQ have it by default."""
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
    return (high * (127 / _scale(high))).round().to(torch.int8)


def int4_levels(matrix: Float[Tensor, "out in"]) -> Int[Tensor, "out in"]:
    """Round to nearest with one scale for every 128 weights of a row: round(7 w / max |w|), -7 to 7.

    What is left over at the end of a row has a scale of its own.
    """
    groups = _cut(matrix, INT4_GROUP)
    levels = (groups * (7 / _scale(groups))).round()
    return levels.flatten(1)[:, : matrix.shape[1]].to(torch.int8)


def nf4_levels(matrix: Float[Tensor, "out in"]) -> Int[Tensor, "out in"]:
    """The nearest of the 16 levels of NF4, 0 to 15, with one scale for every 64 weights along a row and on to the next.

    What is left over at the end has a scale of its own.
    """
    blocks = _cut(matrix.reshape(1, -1), NF4_BLOCK)
    levels = torch.tensor(_NF4, device=matrix.device)
    borders = (levels[1:] + levels[:-1]) / 2
    nearest = torch.bucketize(blocks / _scale(blocks), borders)
    return nearest.reshape(-1)[: matrix.numel()].view(matrix.shape).to(torch.int8)


def rounded(matrix: Float[Tensor, "out in"], format: str) -> Float[Tensor, "out in"]:
    """Return the values that a quantised model uses for ``matrix``: levels times their scales, in float32.

    Rounding twice changes no bit: the largest weight of each group keeps its value, and so the scale does.

    Args:
        format: ``int8`` (one scale a row), ``int4`` (one for 128 weights of a row) or ``nf4`` (one for 64 weights).
    """
    if format == "int8":
        return int8_levels(matrix) / 127 * _scale(matrix.float())
    if format == "int4":
        levels = _cut(int4_levels(matrix).float(), INT4_GROUP) / 7
        return (levels * _scale(_cut(matrix, INT4_GROUP))).flatten(1)[:, : matrix.shape[1]]
    if format != "nf4":
        raise ValueError(f"no format {format!r}")
    values = torch.tensor(_NF4, device=matrix.device)[nf4_levels(matrix).long()]
    blocks = _cut(values.view(1, -1), NF4_BLOCK) * _scale(_cut(matrix.reshape(1, -1), NF4_BLOCK))
    return blocks.reshape(-1)[: matrix.numel()].view(matrix.shape)


def _cut(matrix: Float[Tensor, "out in"], size: int) -> Float[Tensor, "out group size"]:
    """Rows in groups of ``size``, in float32, the last one filled up with zeros."""
    padded = torch.nn.functional.pad(matrix.float(), (0, -matrix.shape[1] % size))
    return padded.unflatten(1, (-1, size))


def _scale(groups: Float[Tensor, "... weight"]) -> Float[Tensor, "... 1"]:
    """The largest |w| of each group; 1 where all are 0."""
    high = groups.abs().amax(-1, keepdim=True)
    return high.where(high > 0, 1.0)
