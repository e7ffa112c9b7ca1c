"""Measuring what unlearning did to each block of weights, and how much of it rounding would undo."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.keywords import keywords
from dissect.measures.representation.drift_map import MEASURES, Drift
from dissect.models.alignment import compare
from dissect.models.axes import as_matrix
from dissect.models.changing.rounding import int8_levels, nf4_levels
from dissect.models.changing.spectrum import singular_values
from dissect.models.files.stored import StoredParameters
from dissect.models.pair import ModelPair
from dissect.models.parameters import stored_layer_blocks, stored_outside_blocks
from dissect.models.sharding.shards import gathered
from dissect.undoing.gradient_mode import without_gradients

Find = Callable[[str], Float[Tensor, "..."]]


@keywords()
def drift(pair: ModelPair, *, spectra: bool = True, progress: bool = True) -> Drift:
    """Measure how far each block of the unlearned model is from the base model's.

    Args:
        spectra: whether to find singular values, which is most of the work: O(rows² · columns) a matrix.
        progress: show a bar over the blocks.

    While the pair holds one model at a time, the base model's tensors are read from its files one by one.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> moved = dissect.drift(pair, spectra=False)
        >>> float(moved.layers["relative_norm"].sel(block="mlp.W_out").max()) > 0
        True
    """
    if pair.one_at_a_time:
        pair.wake(pair.unlearned)
        base: Find = StoredParameters.of(pair.base).parameter
    else:
        base = _finder(pair.base)
    inside, outside = stored_layer_blocks(pair.unlearned), stored_outside_blocks(pair.unlearned)
    measures = [name for name in MEASURES if spectra or name not in _SPECTRAL]
    with tqdm(total=len(inside) * pair.unlearned.cfg.n_layers + len(outside), disable=not progress) as bar:
        bar.set_description("drift")

        def measured(names: Sequence[str]) -> dict[str, float]:
            scores = _measured(base, _finder(pair.unlearned), names, spectra)
            bar.update()
            return scores

        grid = {block: [measured(names) for names in layers] for block, layers in inside.items()}
        single = {block: measured(names) for block, names in outside.items()}
    tables = {name: np.array([[cell[name] for cell in row] for row in grid.values()]) for name in measures}
    layers = xr.Dataset(
        {name: (("block", "layer"), table) for name, table in tables.items()},
        coords={"block": list(grid), "layer": list(range(pair.unlearned.cfg.n_layers))},
        attrs=pair.provenance(),
    )
    rest = xr.Dataset(
        {name: ("block", np.array([cell[name] for cell in single.values()])) for name in measures},
        coords={"block": list(single)},
    )
    return Drift(layers, rest)


def _finder(model: HookedTransformer) -> Find:
    return lambda name: gathered(model.get_parameter(name))


_SPECTRAL = ("spectral_norm", "relative_spectral_norm", "stable_rank", "effective_rank")


@without_gradients()
def _measured(base: Find, other: Find, names: Sequence[str], spectra: bool) -> dict[str, float]:
    """All measures over the parameters ``names`` together; those of a matrix where they are one."""
    scores = dict.fromkeys(MEASURES, np.nan)
    if not names:
        return scores
    scores["relative_norm"], scores["cosine"], scores["moved"] = compare(base, other, names)
    matrices = [name for name in names if other(name).ndim > 1]
    if matrices:
        scores["moved_8bit"], scores["moved_4bit"] = _moved_after_rounding(base, other, matrices)
    if len(matrices) == 1 and spectra:
        scores |= _spectral(matrices[0], base(matrices[0]), other(matrices[0]))
    return scores


def _moved_after_rounding(base: Find, other: Find, names: Iterable[str]) -> tuple[float, float]:
    moved8 = moved4 = count = 0
    for name in names:
        # embeddings are stored with a token a row, everything else with an output channel a row
        ours, theirs = (as_matrix(name, find(name)) for find in (base, other))
        if not name.startswith(("embed.", "pos_embed.")):
            ours, theirs = ours.T, theirs.T
        theirs = theirs.to(ours.device)
        moved8 += int((int8_levels(ours) != int8_levels(theirs)).sum())
        moved4 += int((nf4_levels(ours) != nf4_levels(theirs)).sum())
        count += ours.numel()
    return moved8 / count, moved4 / count


def _spectral(name: str, ours: Float[Tensor, "..."], theirs: Float[Tensor, "..."]) -> dict[str, float]:
    old = as_matrix(name, ours).float()
    values = singular_values(as_matrix(name, theirs).float().to(old.device) - old)
    largest, before = float(values[0]), float(singular_values(old)[0])
    if not largest:
        return {"spectral_norm": 0.0, "relative_spectral_norm": 0.0}
    shares = values / values.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()
    return {
        "spectral_norm": largest,
        "relative_spectral_norm": largest / before if before else np.inf,
        "stable_rank": float(values.square().sum()) / largest**2,
        "effective_rank": float(entropy.exp()),
    }
