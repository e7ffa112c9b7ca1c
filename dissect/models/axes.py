"""The axes of a parameter: where its heads and its neurons lie, and which matrix it is."""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

HEADED = ("attn.W_Q", "attn.W_K", "attn.W_V", "attn.W_O")
"""Blocks whose parameters have an axis of heads: the first one. Key/value heads are those that the model stores."""
NEURONED = ("mlp.W_in", "mlp.W_gate", "mlp.W_out")
"""Blocks whose parameters have an axis of neurons."""


def head_axis(name: str) -> int:
    """Axis of the heads in a parameter of a block in ``HEADED``."""
    return 0


def neuron_axis(name: str) -> int:
    """Axis of the neurons in a parameter of a block in ``NEURONED``: value vectors are rows of ``W_out``."""
    return 0 if name.endswith(".W_out") else 1


def as_matrix(name: str, parameter: Shaped[Tensor, "..."]) -> Shaped[Tensor, "rows columns"]:
    """The parameter as the matrix that it is in the checkpoint, up to transposition; a vector is one row.

    A view of the parameter, so that its singular values are those of the stored matrix: queries, keys and values are
    (d_model, heads x d_head), outputs (heads x d_head, d_model).
    """
    if parameter.ndim == 3:
        pattern = "n h d -> (n h) d" if name.endswith(".W_O") else "n d h -> d (n h)"
        return rearrange(parameter, pattern)
    return parameter.reshape(1, -1) if parameter.ndim < 2 else parameter


def from_matrix(
    name: str, matrix: Shaped[Tensor, "rows columns"], like: Shaped[Tensor, "..."]
) -> Shaped[Tensor, "..."]:
    """The opposite of ``as_matrix``, in the shape of ``like``."""
    if like.ndim == 3:
        pattern = "(n h) d -> n h d" if name.endswith(".W_O") else "d (n h) -> n d h"
        return rearrange(matrix, pattern, n=like.shape[0])
    return matrix.reshape(like.shape)
