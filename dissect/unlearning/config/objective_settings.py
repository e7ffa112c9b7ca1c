"""Settings of the objective: which it is, how its sides are weighed, and what each method has of its own."""

from dataclasses import dataclass
from typing import Annotated

from dissect.unlearning.config.setting_types import (
    CountOrZero,
    Finite,
    Focus,
    NotNegative,
    OneOf,
    Positive,
    RetainLoss,
    Share,
)
from dissect.unlearning.methods import METHODS, VARIANTS

MethodName = Annotated[str, OneOf(tuple(METHODS))]
VariantName = Annotated[str, OneOf(VARIANTS)]


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The first half of `TrainConfig`, which checks it."""

    __no_type_check__ = True  # as `TrainConfig`

    method: MethodName = "ga"
    """Objective on the forget facts. Equations and sources stand in `dissect.unlearning.methods.METHODS`."""
    retain_loss: RetainLoss | None = None
    """Loss on the retained facts: nll, their NLL; kl, KL(reference || model) at the tokens that predict their
    answers; states, RMU's squared distance of the layer's states to the reference's. By default states for RMU and
    nll for all others, if retain facts are given."""
    forget_weight: NotNegative = 1.0
    """Weight of the forget loss."""
    retain_weight: NotNegative = 1.0
    """Weight of the retain loss."""
    beta: Positive | None = None
    """Strength β of the objective. The published value where None is given. For SatImp this is β1; β2 is 1."""
    gamma: NotNegative = 10.0
    """Lower the teacher's logit of the true token by this many nats."""
    delta: Finite = 0.0
    """Margin in nats per token."""
    variant: VariantName = "masked"
    """Published form of the objective. See `undial` and `rmu` in `dissect.unlearning.losses`."""
    focus: Focus = "none"
    """Where facts name focus strings: soft weights them more than the rest of the answer, hard scores nothing else."""
    focus_weight: Positive = 10.0
    """Weight of a token in soft focus. Other tokens weigh 1."""
    steering_layer: CountOrZero | None = None
    """Layer whose output is steered. By default the published 7, or the middle of a model with fewer than 15 layers."""
    steering_coeff: NotNegative = 20.0
    """Norm of the state that forget tokens are steered to."""
    adaptive: NotNegative = 0.0
    """Steer each token to this multiple of its state's norm before training, in place of the coefficient (published:
    5); 0 for the fixed coefficient."""
    retain_eps: NotNegative | None = None
    """Retain loss ε that is allowed, in nats: above it the weight of the retain loss rises, below it falls."""
    dual_step: NotNegative = 1.0
    """Step η of that weight, which begins at the retain weight."""
    dual_warmup_epochs: CountOrZero = 5
    """Epochs before the first of these steps."""
    task_scale: NotNegative = 1.0
    """Go this many times as far back as learning went ahead; 0 gives the model before training."""
    noise: NotNegative = 1.2
    """Standard deviation of the noise in every trained matrix, in units of the matrix's own."""
    undo_strength: Share = 0.6
    """Share of every trained matrix that is replaced by noise."""
    undo_noise: NotNegative = 0.1
    """Scale of that noise, in units of Xavier's standard deviation."""
