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
from dissect.measures.depth.uds import SETS, TAU, check_tau, depth_scores
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure, mean_of
from dissect.models.comparable import check_comparable
from dissect.reading.layer_lens import LayerScores, layer_scores, logit_lens

HEADS = ("base", "own")


def scores_of(subject: Subject) -> LayerScores:
    """The answers of the subject's facts, read off its states; computed once.

    Raises:
        Undefined: no base model to read with, or one that cannot be compared.
    """
    head = subject.option("logit_lens.head", HEADS[0])
    if head not in HEADS:
        raise Undefined(f"logit_lens.head={head!r}: choose from {', '.join(HEADS)}")
    model = subject.model if head == "own" else fixed_head(subject, "logit_lens.head='own'")
    return read_with(subject, model)


def read_with(subject: Subject, head: HookedTransformer) -> LayerScores:
    """The same with the head of any model."""
    return subject.memo(
        ("logit_lens", subject.set, id(head)),
        lambda: layer_scores(subject.model, subject.prompts, logit_lens(head), batch_size=subject.settings.batch_size),
    )


def fixed_head(subject: Subject, way_out: str = "") -> HookedTransformer:
    """The base model, whose head reads the states of all checkpoints.

    Raises:
        Undefined: there is none, or it cannot be compared with the subject's.
    """
    try:
        base = subject.base.model
    except Undefined as error:
        raise Undefined(f"{error}{f', or set {way_out}' if way_out else ''}") from None
    try:
        check_comparable(base, subject.model, f"base and {subject.name}")
    except DissectError as error:
        raise Undefined(str(error)) from error
    return base


def uds_logit_lens(subject: Subject) -> Estimate:
    """UDS with the drop of the log-probability that the base model's head reads off the states, mean over facts.

    Δ^{S1}_l = mean over the answer's tokens of log p_l(y; base) - log p_l(y; retain), Δ^{S2}_l the same with the
    evaluated model; threshold, weights and clipping are those of UDS. Nothing is computed after the state, so layers
    from which later ones would still make the answer count as if they did not hold it.
    """
    tau, head = check_tau(subject.option("uds.tau", TAU), "uds.tau"), fixed_head(subject)
    base, retain, own = (_logprob(one, head) for one in (subject.base, subject.retain, subject))
    found = depth_scores(base - retain, base - own, tau)
    if np.isnan(found).all():
        raise Undefined(
            f"in no layer does the base model's head read more than {tau} nats less off the retrained model"
        )
    return mean_of(found, seed=subject.settings.seed)


def _logprob(subject: Subject, head: HookedTransformer) -> Float[np.ndarray, "layer prompt"]:
    found = read_with(subject, head)
    return found.per_row(found.logprob)


MEASURES: Sequence[Measure] = (
    *lens_measures(
        "logit_lens",
        "logit lens",
        "logit lens (nostalgebraist 2020): the residual stream after each layer, where the answer's tokens are "
        "predicted, read with the base model's final norm and unembedding (logit_lens.head='own': the model's own)",
        scores_of,
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
        sets=SETS,
        knows="low",
    ),
)
