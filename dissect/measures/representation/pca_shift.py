"""Principal directions: whether states still spread along the same axis, and how far they were moved along it."""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse.linalg import svds

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.representation.cka import CONSTANT
from dissect.measures.representation.examined_states import COMPARED, beside_base, max_tokens
from dissect.reading.residual_states import Positions, States
from dissect.statistics.jackknife import groups_of, jackknife

MAX_TOKENS = max_tokens("pca")
MIN_TOKENS = 10
N_GROUPS = 20
"""Groups of facts that are left out in turn: each takes a decomposition of each checkpoint's states."""


def pca_similarity(examined: Examined) -> list[Estimate]:
    """|cos| between the first principal directions of the base's states and of the checkpoint's, by layer."""
    return [estimate for positions in COMPARED for estimate in _similarities(examined, positions)]


def pca_shift(examined: Examined) -> list[Estimate]:
    """Mean movement along the base's first principal direction, by layer; each fact counts once.

    ``scale`` is "base std" (deviations of the base's states along that direction) or "raw" (the states' own units).
    """
    return [estimate for positions in COMPARED for estimate in _shifts(examined, positions)]


def _similarities(examined: Examined, positions: Positions) -> list[Estimate]:
    base, ours = _states(examined, positions)
    similarities = []
    directions = _directions(examined.base, base, positions), _directions(examined, ours, positions)
    for layer, (theirs, own) in enumerate(zip(*directions, strict=True)):
        value, *without = (similarity(x, y) for x, y in zip(theirs, own, strict=True))
        low, high = jackknife(value, np.array(without), lowest=0.0, highest=1.0)
        similarities.append(
            Estimate(value, len(base.row), low, high, "tokens", {"layer": layer, "positions": positions})
        )
    return similarities


def _directions(examined: Examined, states: States, positions: Positions) -> Float[np.ndarray, "layer fit d"]:
    """First directions of each layer: of all facts, then without each group; the base's serve every checkpoint."""

    def make() -> Float[np.ndarray, "layer fit d"]:
        groups = groups_of(states.row, n_groups=N_GROUPS, seed=examined.settings.seed)
        kept = [groups != left_out for left_out in range(-1, int(groups.max()) + 1)]
        return np.stack(
            [[first_direction(states.layer(layer)[rows]) for rows in kept] for layer in range(states.n_layers)]
        )

    return examined.memo(("first directions", examined.set, positions, len(states.row)), make)


def _shifts(examined: Examined, positions: Positions) -> list[Estimate]:
    base, ours = _states(examined, positions)
    estimates = []
    for layer in range(base.n_layers):
        moved, deviation = shifts(base.layer(layer), ours.layer(layer))
        for scale, unit in (("base std", deviation), ("raw", 1.0)):
            if np.isnan(moved).any():
                at = {"layer": layer, "positions": positions, "scale": scale}
                estimates.append(Estimate(float("nan"), 0, at=at))
                continue
            items = _by_fact(moved / unit, base.row, len(examined.facts))
            estimates.append(mean_of(items, layer=layer, positions=positions, scale=scale))
    return estimates


def first_direction(x: Float[np.ndarray, "item d"]) -> Float[np.ndarray, " d"]:
    """The unit vector along which centred rows spread most, on the side of their mean; NaN where rows are constant."""
    mean = x.mean(0)
    centred = x - mean
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(x):
        return np.full(x.shape[1], np.nan)
    longest = centred[np.square(centred).sum(1).argmax()]
    direction = svds(centred, k=1, v0=longest if len(x) >= x.shape[1] else centred @ longest)[2][0]
    return -direction if direction @ mean < 0 else direction


def similarity(x: Float[np.ndarray, " d"], y: Float[np.ndarray, " d"]) -> float:
    """|cos| of two first directions: the sign of a principal direction means nothing."""
    cosine = abs(float(x @ y))
    return cosine if np.isnan(cosine) else min(1.0, cosine)


def shifts(
    base: Float[np.ndarray, "item d"], other: Float[np.ndarray, "item d"]
) -> tuple[Float[np.ndarray, " item"], float]:
    """(other - base) along the base's first direction, item by item, and the deviation of the base's states along it.

    The direction points to the side of the base's mean: what shrinks towards the origin shifts by less than 0.
    """
    direction = first_direction(base)
    return (other - base) @ direction, float((base @ direction).std())


def _by_fact(
    values: Float[np.ndarray, " item"], row: Int[np.ndarray, " item"], n_facts: int
) -> Float[np.ndarray, " fact"]:
    """Mean over the tokens of each fact, NaN where none of them was drawn."""
    counts = np.bincount(row, minlength=n_facts)
    with np.errstate(invalid="ignore"):
        return np.bincount(row, values, minlength=n_facts) / counts


def _states(examined: Examined, positions: Positions) -> tuple[States, States]:
    base, ours = beside_base(examined, positions, max_tokens=examined.option(MAX_TOKENS))
    if len(base.row) < MIN_TOKENS:
        raise Undefined(f"it needs {MIN_TOKENS} tokens for a direction, and these facts have {len(base.row)}")
    if base.values.shape != ours.values.shape:
        raise Undefined(f"directions of different widths: {base.values.shape[2]} and {ours.values.shape[2]}")
    return base, ours


_WHERE = (
    "resid_post by layer at the answers' tokens and where they are predicted, without padding (after arXiv:2505.16831)"
)
_SETS = ("forget", "retain", "unrelated")

MEASURES = (
    Measure(
        name="pca_similarity",
        label="first principal direction",
        definition=f"|cos| between the first principal direction of the base's states and that of this checkpoint's: "
        f"{_WHERE}; the interval is a jackknife over groups of facts",
        family="depth",
        compute=pca_similarity,
        options=(MAX_TOKENS,),
        sets=_SETS,
    ),
    Measure(
        name="pca_shift",
        label="shift along PC1",
        definition="mean projection of (this checkpoint - base) on the base's first principal direction, which points "
        f"to the side of the base's mean, in deviations of the base's states along it, and raw: {_WHERE}",
        family="depth",
        compute=pca_shift,
        options=(MAX_TOKENS,),
        sets=_SETS,
    ),
)
