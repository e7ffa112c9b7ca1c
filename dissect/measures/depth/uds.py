"""The Unlearning Depth Score (Lee, Kim and Jo 2026, arXiv 2605.24614): erased from the states, or only not said?

Δ^{S1}_l is the drop (see ``erasure_curve``) with the states of a model that was trained without the forget facts, and
Δ^{S2}_l that with the states of the evaluated one. Per fact, with τ = 0.05 nats:

    KE    = { l : Δ^{S1}_l > τ }                            the layers whose states hold what the retrained model lacks
    LER_l = clip(Δ^{S2}_l / Δ^{S1}_l, 0, 1)                 the share of it that is gone
    UDS   = Σ_{l in KE} Δ^{S1}_l LER_l / Σ_{l in KE} Δ^{S1}_l

0: every layer still gives the base model the answer; 1: no more than the retrained model's states do. Facts with an
empty KE say nothing and are left out. The published code patches the last layer's stream after the final norm, which
is then normed twice; here the model patched into itself gives 0 in every layer.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from dissect.errors import Undefined
from dissect.measures.depth.erasure_curve import STATES, drops
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option, number


def threshold(name: str) -> Option[float]:
    """Return an option τ: the drop from which on a layer counts, in nats a token."""
    about = "Drop in nats a token from which on a layer counts."
    return number(name, 0.05, about, "a number of nats of at least 0", lambda tau: tau >= 0)


TAU = threshold("uds.tau")
COMPONENT = Option(
    "uds.component",
    STATES,
    "Site of dissect.patch whose states are put in.",
    "the name of a site",
    lambda site: isinstance(site, str),
)
SETS = ("forget", "paraphrased", "held_out")
"""Not the retain facts: there Δ^{S1} is no lack of knowledge but what the states of a model that was trained
apart cost the base model anyway, and a share of that says nothing; ``erasure_depth`` can be taken on them."""

Drops = Float[np.ndarray, "layer prompt"]


def encoding(reference: Drops, tau: float = TAU.default) -> Bool[np.ndarray, "layer prompt"]:
    """KE: where the reference's states cost more than ``tau``."""
    return reference > tau


def erasure_ratios(reference: Drops, evaluated: Drops, tau: float = TAU.default) -> Drops:
    """LER, NaN outside of KE.

    Args:
        reference: Δ^{S1}, of the model that never knew.
        evaluated: Δ^{S2}, of the model that is measured.
    """
    inside = encoding(reference, tau)
    ratio = np.clip(evaluated / np.where(inside, reference, 1.0), 0.0, 1.0)
    return np.where(inside, ratio, np.nan)


def depth_scores(reference: Drops, evaluated: Drops, tau: float = TAU.default) -> Float[np.ndarray, " prompt"]:
    """UDS of each fact: the mean of LER over the layers of KE, weighted with Δ^{S1}; NaN where KE is empty."""
    inside = encoding(reference, tau)
    weights = np.where(inside, reference, 0.0)
    erased = (weights * np.nan_to_num(erasure_ratios(reference, evaluated, tau))).sum(0)
    total = weights.sum(0)
    return np.where(inside.any(0), erased / np.where(inside.any(0), total, 1.0), np.nan)


def uds(examined: Examined) -> Estimate:
    """Mean over facts."""
    reference, evaluated, tau = _sources(examined)
    scores = depth_scores(reference, evaluated, tau)
    return mean_of(_some(scores, tau))


def uds_by_layer(examined: Examined) -> Sequence[Estimate]:
    """The mean of LER over the facts that have the layer in KE; NaN with n = 0 where none has."""
    reference, evaluated, tau = _sources(examined)
    ratios = _some(erasure_ratios(reference, evaluated, tau), tau)
    return [_layer(row, layer) for layer, row in enumerate(ratios)]


def _sources(examined: Examined) -> tuple[Drops, Drops, float]:
    """Return Δ^{S1}, Δ^{S2} and τ."""
    tau, component = float(examined.option(TAU)), examined.option(COMPONENT)
    base, retrained = examined.base, examined.retrained
    reference = drops(retrained, base, component=component)
    evaluated = reference if examined.model is retrained.model else drops(examined, base, component=component)
    return reference, evaluated, tau


def _some(values: np.ndarray, tau: float) -> np.ndarray:
    if np.isnan(values).all():
        raise Undefined(
            f"for none of the facts do the states of the retrained model cost the base model more than {tau} nats a "
            "token of the answer: there is nothing that they lack"
        )
    return values


def _layer(ratios: Float[np.ndarray, " prompt"], layer: int) -> Estimate:
    if np.isnan(ratios).all():
        return Estimate(float("nan"), 0, at={"layer": layer}, items=ratios)
    return mean_of(ratios, layer=layer)


_SOURCE = (
    "Unlearning Depth Score of Lee, Kim and Jo (2026): the residual stream after a layer, at the positions that "
    "predict the answer, is put into the base model; "
)
MEASURES = (
    Measure(
        name="uds",
        label="UDS",
        definition=_SOURCE
        + "the share of the loss of answer log-probability that a retrained model's states cause which this model's "
        "states cause too, weighted over the layers in which the retrained model's cost more than 0.05 nats (uds.tau); "
        "0: the states still give the answer, 1: no more than those of the retrained model. Facts without such a layer "
        "are left out of n",
        family="depth",
        compute=uds,
        options=(TAU, COMPONENT),
        sets=SETS,
        knows="low",
    ),
    Measure(
        name="uds_by_layer",
        label="layer erasure ratio",
        definition=_SOURCE
        + "the loss of answer log-probability with this model's states over that with a retrained model's, cut to "
        "0..1, averaged over the facts for which the latter is above 0.05 nats (uds.tau) in that layer",
        family="depth",
        compute=uds_by_layer,
        options=(TAU, COMPONENT),
        sets=SETS,
        knows="low",
    ),
)
