"""Linear CKA: whether base and unlearned model arrange the same tokens in the same way, layer by layer."""

import numpy as np
from jaxtyping import Float, Int

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import switch
from dissect.measures.representation.examined_states import COMPARED, beside_base, max_tokens
from dissect.reading.residual_states import Positions
from dissect.statistics.jackknife import groups_of, jackknife

MAX_TOKENS = max_tokens("cka")
PUBLISHED = switch(
    "cka.published", False, "The first token of each text alone, not debiased, as in the published code."
)
MIN_TOKENS = 20
CONSTANT = 1e-5
"""States whose spread is less than this share of their size are one state, up to rounding."""

Gram = Float[np.ndarray, "item item"]


def cka(examined: Examined) -> list[Estimate]:
    """CKA of the base's and the checkpoint's states, by layer, at the answer's tokens and where they are predicted.

    Raises:
        Undefined: no base model; too few tokens; with ``cka.published``, first tokens that are all the same.
    """
    if examined.option(PUBLISHED):
        return _published(examined)
    return [estimate for positions in COMPARED for estimate in _by_layer(examined, positions)]


def _by_layer(examined: Examined, positions: Positions) -> list[Estimate]:
    base, ours = beside_base(examined, positions, max_tokens=examined.option(MAX_TOKENS))
    if len(base.row) < MIN_TOKENS:
        raise Undefined(f"it needs {MIN_TOKENS} tokens to compare, and these facts have {len(base.row)}: give more")
    groups, estimates = groups_of(base.row, seed=examined.settings.seed), []
    for layer in range(base.n_layers):
        value, without = debiased_cka(base.layer(layer), ours.layer(layer), groups)
        low, high = jackknife(value, without, lowest=-1.0, highest=1.0)
        estimates.append(Estimate(value, len(base.row), low, high, "tokens", {"layer": layer, "positions": positions}))
    return estimates


def _published(examined: Examined) -> list[Estimate]:
    """CKA of the code published with arXiv:2505.16831: the first token of each text alone, and not debiased."""
    base, ours = beside_base(examined, "first")
    first = examined.prompts.tokens[:, 0]
    if (first == first[0]).all():
        raise Undefined(
            "cka.published looks at the first token of each text alone, and here it is always the same one "
            f"({examined.model.tokenizer.decode([int(first[0])])!r}): its state is the same in every text, and CKA is "
            "0/0. Leave cka.published out"
        )
    n, estimates = len(base.row), []
    for layer in range(base.n_layers):
        value = biased_cka(base.layer(layer), ours.layer(layer))
        estimates.append(Estimate(value, n, unit="tokens", at={"layer": layer, "positions": "first"}))
    return estimates


def biased_cka(x: Float[np.ndarray, "item d"], y: Float[np.ndarray, "item e"]) -> float:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), columns centred (Kornblith et al. 2019); NaN where the rows of one are constant.

    With few items and many dimensions this is far above 0 for states that have nothing to do with each other.
    """
    k, m = gram(x), gram(y)
    scale = np.linalg.norm(k) * np.linalg.norm(m)
    return float((k * m).sum() / scale) if scale > 0 else float("nan")


def debiased_cka(
    x: Float[np.ndarray, "item d"], y: Float[np.ndarray, "item e"], groups: Int[np.ndarray, " item"]
) -> tuple[float, Float[np.ndarray, " group"]]:
    """CKA with unbiased HSIC in place of the squared norms, and the same without each group of items in turn.

    It is 1 for equal geometry, around 0 for states that have nothing to do with each other (it can be negative), and
    NaN where the rows of one are constant.
    """
    k, m = gram(x), gram(y)
    cross, own, other = (hsic(a, b, groups) for a, b in ((k, m), (k, k), (m, m)))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = cross / np.sqrt(own * other)
    if not k.any() or not m.any():
        ratio[:] = np.nan
    return float(ratio[0]), ratio[1:]


def gram(x: Float[np.ndarray, "item d"]) -> Gram:
    """Inner products of the centred rows; exactly zero where the rows are equal up to rounding."""
    centred = x - x.mean(0)
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(x):
        return np.zeros((len(x), len(x)))
    return centred @ centred.T


def hsic(k: Gram, m: Gram, groups: Int[np.ndarray, " item"]) -> Float[np.ndarray, " draw"]:
    """The unbiased estimator of HSIC (Song et al. 2012, equation 5): of all items, then without each group in turn.

        HSIC₁ = [tr(K̃M̃) + 1ᵀK̃1 · 1ᵀM̃1 / ((n-1)(n-2)) - 2/(n-2) · 1ᵀK̃M̃1] / (n (n-3)),   K̃, M̃ with zero diagonals

    Leaving items out leaves out rows and columns of both matrices, so that every sum follows from sums by group.
    """
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    n_groups = int(groups.max()) + 1
    member = np.zeros((len(k), n_groups + 1))  # the first column leaves nothing out
    member[np.arange(len(k)), groups + 1] = 1
    n = len(k) - member.sum(0)
    k_rows, m_rows, both = k @ member, m @ member, (k * m) @ member
    kept = 1 - member
    k_sums, m_sums = (k.sum(1)[:, None] - k_rows) * kept, (m.sum(1)[:, None] - m_rows) * kept
    trace = (((k * m).sum(1)[:, None] - both) * kept).sum(0)
    joint = (k_sums * m_sums).sum(0)
    product = k_sums.sum(0) * m_sums.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unbiased = (trace + product / ((n - 1) * (n - 2)) - 2 / (n - 2) * joint) / (n * (n - 3))
    return np.where(n > 3, unbiased, np.nan)


MEASURE = Measure(
    name="cka",
    label="linear CKA",
    definition=(
        "linear centred kernel alignment (Kornblith et al. 2019) of resid_post in the base model and in this one, by "
        "layer, over the answers' tokens of all facts and over the positions that predict them, with unbiased HSIC "
        "(Song et al. 2012): 1 where the geometry is the same up to rotation and scale, around 0 where it is not; the "
        "interval is a jackknife over facts"
    ),
    family="depth",
    compute=cka,
    options=(MAX_TOKENS, PUBLISHED),
    sets=("forget", "retain", "unrelated"),
)
