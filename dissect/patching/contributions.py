"""Adding up activation difference times gradient: over everything, or apart for heads, neurons or positions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.patching import where
from dissect.patching.heads_and_neurons import check_heads, check_neurons
from dissect.patching.sites import SITES
from dissect.sweep.batch import Batch

PER = ("head", "neuron", "position")


@dataclass(frozen=True)
class Grain:
    """The heads, neurons or positions for which contributions are kept apart."""

    dim: str | None
    """The dimension of the result, named as in an exact sweep; None: everything is added up."""
    labels: tuple[int, ...] = (0,)
    """Its coordinates."""

    def __len__(self) -> int:
        """Number of contributions that are kept apart."""
        return len(self.labels)


def grain_of(
    model: HookedTransformer, components: Mapping[str, tuple[str, ...]], per: str | None, prompts: Prompts
) -> Grain:
    """The grain that ``per`` asks for.

    Raises:
        DissectError: an unknown one, or one that a component does not have.
    """
    if per is None:
        return Grain(None)
    if per == "head":
        return Grain("head", tuple(int(label) for label, _ in check_heads(model, components, "each")))
    if per == "neuron":
        check_neurons(model, components, [0])
        return Grain("neurons", tuple(range(model.cfg.d_mlp)))
    if per == "position":
        return Grain("position", tuple(where.single_positions("each", prompts)))
    raise DissectError(f"per={per!r}: choose from {', '.join(PER)}, or None to add everything up")


def contributions(
    site: str, grain: Grain, own: Tensor, theirs: Tensor, slope: Tensor, batch: Batch
) -> Float[np.ndarray, "grain prompt"]:
    """Σ (given - own) · slope of each prompt and each of ``grain``, added up in float64.

    NaN at positions that a prompt does not have.
    """
    product = (theirs.to(slope.dtype) - own.to(slope.dtype)) * slope
    if grain.dim is None:
        return _added(product, ())[None]
    if grain.dim == "head":
        head_axis = SITES[site].head_axis
        assert head_axis is not None  # grain_of checked it
        return _added(product, (head_axis,))
    if grain.dim == "neurons":
        return _added(product, (product.ndim - 1,))
    by_token = _added(product, (2 if SITES[site].head_axis == 1 else 1,))
    index = (where.offsets(batch.prompts) - grain.labels[0]).T.numpy()
    inside = where.inside(batch.prompts).T.numpy()
    placed = np.full((len(grain), len(batch.tokens)), np.nan)
    columns = np.broadcast_to(np.arange(len(batch.tokens)), index.shape)
    placed[index[inside], columns[inside]] = by_token[inside]
    return placed


def _added(product: Tensor, kept: tuple[int, ...]) -> np.ndarray:
    """Sum over all axes but ``kept`` and the first, which comes last."""
    rest = tuple(axis for axis in range(1, product.ndim) if axis not in kept)
    total = product.sum(rest, dtype=torch.float64) if rest else product.double()
    return total.movedim(0, -1).cpu().numpy()
