"""Depth of a change, where no retrained model is at hand. Ours; it is not UDS, and its 1 means something else.

Like UDS, it lets the base model take over the evaluated model's states of one layer, where the answer is predicted.
What is lost of the answer is put as a share of its probability p (geometric mean over its tokens), which cannot
outgrow 1 where a model is confidently wrong:

    λ_l   = max(0, 1 - p_patched(y) / p_base(y)) = max(0, 1 - exp(-Δ_l))

and set beside λ^o_l, the loss with the base model's *own* states where it reads the same answer after the most similar
other question: states that cannot tell which answer is right. Layers in which even those cost nothing (Δ^o_l ≤ τ, where
the base model still reads the question for itself) say nothing. Per fact

    K     = { l : Δ^o_l > τ }
    depth = Σ_{l in K} min(λ_l, λ^o_l) / Σ_{l in K} λ^o_l

0: wherever the base model needs these states, they give it the whole answer: it is only not read out. 1: they give it
no more than its own states at another question. A model trained without the facts stays below 1, since it knows what
kind of answer is asked for; how far below depends on the facts, and only a retrained model can tell.
"""

import numpy as np
from jaxtyping import Float

from dissect.errors import Undefined
from dissect.measures.depth.erasure_curve import SETS, drops
from dissect.measures.depth.uds import TAU, depth_scores, threshold
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.reading.other_question import drops_between, other_questions

Drops = Float[np.ndarray, "layer prompt"]
DEPTH_TAU = threshold("erasure_depth.tau")


def lost(drop: Drops) -> Drops:
    """λ: share of the answer's probability that is lost, from the drop of its mean log-probability in nats."""
    return np.maximum(0.0, -np.expm1(-drop))


def depths(other: Drops, evaluated: Drops, tau: float = TAU.default) -> Float[np.ndarray, " prompt"]:
    """The depth of each fact, NaN where K is empty; the weighted mean of UDS, with losses of probability.

    Args:
        other: Δ^o, with the base model's states at another question.
        evaluated: Δ, with those of the model that is measured.
    """
    # Δ > τ is the same as λ > 1 - exp(-τ), so the arithmetic of UDS serves as it is
    return depth_scores(lost(other), lost(evaluated), float(-np.expm1(-tau)))


def other_drops(base: Examined) -> Drops:
    """Δ^o of the base model, NaN for facts that no other question was found for; computed once."""

    def make() -> Drops:
        prompts = base.prompts
        donors, rows = other_questions(prompts, n_ctx=base.model.cfg.n_ctx)
        values = np.full((base.model.cfg.n_layers, len(prompts)), np.nan)
        values[:, rows] = drops_between(base.model, prompts[rows], donors, batch_size=base.settings.batch_size)
        return values

    return base.memo(("other drops", base.set), make)


def erasure_depth(examined: Examined) -> Estimate:
    """The mean over facts."""
    tau = float(examined.option(DEPTH_TAU))
    scores = depths(other_drops(examined.base), drops(examined, examined.base), tau)
    if np.isnan(scores).all():
        raise Undefined(
            f"the base model's own states at another question cost it no more than {tau} nats a token of any answer: "
            "it does not read the answers from the states that are exchanged"
        )
    return mean_of(scores)


MEASURE = Measure(
    name="erasure_depth",
    label="erasure depth (no retrained model)",
    definition=(
        "not UDS, needs no retrained model: the residual stream after a layer, at the positions that predict the "
        "answer, is put into the base model; the share of the answer's probability that it loses, relative to its own "
        "states at the most similar other question, over the layers in which those cost it more than 0.05 nats a token "
        "(erasure_depth.tau). 0: the states give the base model the whole answer, 1: no more than its own states at "
        "another question; a model that never saw the facts stays below 1"
    ),
    family="depth",
    compute=erasure_depth,
    options=(DEPTH_TAU,),
    sets=SETS,
    knows="low",
)
