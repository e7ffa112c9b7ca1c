"""Singular values and low-rank factors of a matrix, by way of its smaller Gram matrix in float64.

For a change Δ of m x n weights with m <= n, Δ Δᵀ = U Σ² Uᵀ. Its eigenvectors cost a fraction of a full decomposition,
and are exact for all directions that matter: singular values below 1e-8 of the largest drown in rounding, which is less
than what float32 weights hold.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_ROWS = 2048
"""Entries of the longer side that are brought to float64 at once."""


def singular_values(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, " rank"]:
    """All singular values, the largest first, in float64."""
    return torch.linalg.eigvalsh(_gram(matrix)).clamp(min=0).sqrt().flip(0)


def thin_factors(
    matrix: Float[Tensor, "rows columns"], most: int
) -> tuple[Float[Tensor, "rows rank"], Float[Tensor, "rank columns"]]:
    """Two factors whose first k columns and rows multiply to the best approximation of rank k, for every k <= most."""
    _, vectors = torch.linalg.eigh(_gram(matrix))
    directions = vectors[:, -min(most, vectors.shape[1]) :].flip(1).to(matrix.dtype)
    if matrix.shape[0] <= matrix.shape[1]:
        return directions, directions.T @ matrix
    return matrix @ directions, directions.T.contiguous()


def _gram(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "side side"]:
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    total = torch.zeros(len(wide), len(wide), dtype=torch.float64, device=matrix.device)
    for part in wide.split(_ROWS, dim=1):
        total += part.double() @ part.double().T
    return total
