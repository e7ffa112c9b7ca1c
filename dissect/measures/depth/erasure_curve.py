"""Loss of an answer in the base model with another checkpoint's states of one layer: the raw curve behind UDS."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dissect.errors import DissectError, Undefined
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.models.pair import ModelPair
from dissect.patching.patch import patch

SETS = ("forget", "retain", "paraphrased", "held_out")
STATES = "resid_post"


def drops(source: Examined, base: Examined, *, component: str = STATES) -> Float[np.ndarray, "layer prompt"]:
    """Δ_l = mean over the answer's tokens of log p_base(y_t) - log p_patched(y_t), in nats, for each layer and fact.

    Patched: the base model reads the prompt and the answer, and at the positions that predict an answer token its
    residual stream after layer l (or another ``component``, a site of ``dissect.patch``) is that of ``source`` on the
    same text. 0: those states serve the base model as well as its own; the larger, the less of the answer they give it.
    Below 0: they give more than its own. In the last layer it is the stream before the final norm, so that a model
    patched into itself gives exactly 0 there too.

    Kept with ``source``, so that a retrained model is run once for all checkpoints that are compared with it.

    Raises:
        Undefined: the two models cannot be compared, or one of them gives no finite numbers.
    """
    return source.memo(("drops", id(base.model), base.set, component), lambda: _drops(source, base, component))


def _drops(source: Examined, base: Examined, component: str) -> Float[np.ndarray, "layer prompt"]:
    settings = base.settings
    try:
        sweep = patch(
            ModelPair(base.model, source.model),
            base.prompts,
            [component],
            window=1,
            positions="predicting",
            donor="unlearned",
            recipient="base",
            metrics=["logprob"],
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=settings.progress,
        )
    except DissectError as error:
        raise Undefined(str(error)) from error
    patched = sweep.values("logprob").isel(component=0).transpose("layer", "prompt").values
    own = sweep.data["logprob_recipient"].values
    difference = own[None] - patched
    if not np.isfinite(difference).all():
        broken = source.name if np.isfinite(own).all() else base.name
        raise Undefined(f"the states of {broken} give log-probabilities that are not finite")
    return difference


def erasure_curve(examined: Examined) -> Sequence[Estimate]:
    """Mean Δ_l over facts, for each layer."""
    return [mean_of(row, layer=layer) for layer, row in enumerate(drops(examined, examined.base))]


MEASURE = Measure(
    name="erasure_curve",
    label="answer lost with the states of a layer (nats)",
    definition=(
        "by how much the base model's mean log-probability of an answer token falls when its residual stream after a "
        "layer, at the positions that predict the answer, is that of this checkpoint on the same text; 0: these states "
        "give the base model the answer as its own do. Early layers lose little in any model, because the base model "
        "reads the question again. Δ of the Unlearning Depth Score (Lee, Kim and Jo 2026), here for each checkpoint"
    ),
    family="depth",
    compute=erasure_curve,
    sets=SETS,
    knows="low",
)
