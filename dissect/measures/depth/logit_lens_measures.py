"""Logit lens (nostalgebraist 2020): p_l = softmax(W_U · norm_f(h^l)), the answer read off the states of every layer.

By default all checkpoints are read with the base model's final norm and unembedding: what differs is then the states.
With the option ``logit_lens.head="own"`` each is read with its own, and the last layer is its output.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from transformer_lens import HookedTransformer

from dissect.errors import DissectError, Undefined
from dissect.measures.depth.lens_measures import lens_measures
from dissect.measures.depth.uds import SETS, TAU, depth_scores
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import choice
from dissect.models.comparable import check_comparable
from dissect.reading.layer_lens import LayerScores, layer_scores, logit_lens

HEAD = choice("logit_lens.head", ("base", "own"), "Model whose final norm and unembedding read the states.")


def scores_of(examined: Examined) -> LayerScores:
    """The answers of the checkpoint's facts, read off its states; computed once.

    Raises:
        Undefined: no base model to read with, or one that cannot be compared.
    """
    own = examined.option(HEAD) == "own"
    model = examined.model if own else fixed_head(examined, "logit_lens.head='own'")
    return read_with(examined, model)


def read_with(examined: Examined, head: HookedTransformer) -> LayerScores:
    """Read the answers off the states with the head of any model; computed once."""
    return examined.memo(
        ("logit_lens", examined.set, id(head)),
        lambda: layer_scores(
            examined.model, examined.prompts, logit_lens(head), batch_size=examined.settings.batch_size
        ),
    )


def fixed_head(examined: Examined, way_out: str = "") -> HookedTransformer:
    """The base model, whose head reads the states of all checkpoints.

    Raises:
        Undefined: there is none, or it cannot be compared with the checkpoint's.
    """
    try:
        base = examined.base.model
    except Undefined as error:
        raise Undefined(f"{error}{f', or set {way_out}' if way_out else ''}") from None
    try:
        check_comparable(base, examined.model, f"base and {examined.name}")
    except DissectError as error:
        raise Undefined(str(error)) from error
    return base


def uds_logit_lens(examined: Examined) -> Estimate:
    """UDS with the drop of the log-probability that the base model's head reads off the states, mean over facts.

    Δ^{S1}_l = mean over the answer's tokens of log p_l(y; base) - log p_l(y; retrained), Δ^{S2}_l the same with the
    evaluated model; threshold, weights and clipping are those of UDS. Nothing is computed after the state, so layers
    from which later ones would still make the answer count as if they did not hold it.
    """
    tau, head = float(examined.option(TAU)), fixed_head(examined)
    base, retrained, own = (_logprob(each, head) for each in (examined.base, examined.retrained, examined))
    scores = depth_scores(base - retrained, base - own, tau)
    if np.isnan(scores).all():
        raise Undefined(
            f"in no layer does the base model's head read more than {tau} nats less off the retrained model"
        )
    return mean_of(scores)


def _logprob(examined: Examined, head: HookedTransformer) -> Float[np.ndarray, "layer prompt"]:
    scores = read_with(examined, head)
    return scores.per_row(scores.logprob)


MEASURES: Sequence[Measure] = (
    *lens_measures(
        "logit_lens",
        "logit lens",
        "logit lens (nostalgebraist 2020): the residual stream after each layer, where the answer's tokens are "
        "predicted, read with the base model's final norm and unembedding (logit_lens.head='own': the model's own)",
        scores_of,
        options=(HEAD,),
    ),
    Measure(
        name="uds_logit_lens",
        label="UDS with the logit lens",
        definition=(
            "the arithmetic of the Unlearning Depth Score (Lee, Kim and Jo 2026) with the loss of answer "
            "log-probability that the base model's final norm and unembedding read off the states of each layer, in "
            "place of patching; 0: as the base model's states, 1: as the retrained model's"
        ),
        family="depth",
        compute=uds_logit_lens,
        options=(TAU,),
        sets=SETS,
        knows="low",
    ),
)
