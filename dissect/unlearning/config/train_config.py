"""How a model is trained to forget."""

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dissect.errors import DissectError, near_miss
from dissect.unlearning.config.choices import (
    BETAS,
    Focus,
    Method,
    Reference,
    RetainLoss,
    Schedule,
    Variant,
)
from dissect.unlearning.config.config_checks import check


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result, apart from model and data.

    The loss of a step is ``forget_weight`` · forget loss + ``retain_weight`` · retain loss, each a mean over the
    whole step, however many micro-batches it is computed in.

    Raises:
        DissectError: a value outside of its range, or settings that do not go together; the message names what is
            allowed.
    """

    __no_type_check__ = True  # a value of another type is a user's mistake like any other: checked below, by name

    method: Method = "ga"
    """Objective on the forget facts; each is a function of ``dissect.unlearning.losses``. ``ga``: gradient ascent;
    ``grad_diff``: the same beside a loss on retained facts; ``dpo``: the forget answer is dispreferred to another;
    ``learn``: the opposite of ``ga``, gradient descent on the NLL of the answers, for attacks that train them back."""
    retain_loss: RetainLoss | None = None
    """Loss on retained facts: their NLL, or KL(reference || model) where their answers are predicted. By default the
    NLL where retained facts are given."""
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    beta: float | None = None
    """β of the method; by default ``BETAS``. For SatImp β1, with β2 = 1."""
    gamma: float = 10.0
    """UnDIAL: by how many nats the teacher's logit of the true token is lowered."""
    delta: float = 0.0
    """SimNPO: the margin in nats a token."""
    variant: Variant = "masked"
    """UnDIAL: which of its three forms; see ``losses.undial``."""
    focus: Focus = "none"
    """UnDIAL: weigh the focus tokens more (``soft``), or train on them alone (``hard``)."""
    focus_weight: float = 10.0
    """Of a focus token with ``soft`` focus; the others weigh 1."""

    lr: float = 1e-5
    """Peak learning rate of AdamW."""
    epochs: int = 5
    """Passes over the forget facts."""
    max_steps: int | None = None
    """End after so many steps, also in the middle of an epoch; the learning rate falls as if those were all."""
    batch_size: int = 8
    """Facts in one micro-batch."""
    accumulate: int = 1
    """Micro-batches in one step, which is what one large batch of them all would do."""
    schedule: Schedule = "constant"
    """Of the learning rate after the warm-up: constant, or falling towards 0, which the step after the last would have;
    as in transformers."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises, step k of W (from 0) having (k + 1) / (W + 1) of it. (transformers has
    k / W, so that its first step does nothing.)"""
    warmup_epochs: float = 0.0
    """The same in epochs; the longer of the two counts."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, of everything that is trained. (transformers' Trainer leaves norms and biases
    out.)"""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm where it is longer; ``inf`` switches that off."""
    seed: int = 0
    """Of the order of the facts and of the first values of adapters."""

    blocks: tuple[str, ...] = ()
    """What trains: parameter blocks such as ``mlp.W_out``, ``attn``, ``embed``; empty for everything."""
    layers: tuple[int, ...] | None = None
    """In which layers; all by default."""
    heads: tuple[int, ...] | None = None
    """Only these heads of attention's matrices."""
    neurons: tuple[int, ...] | None = None
    """Only these neurons of the MLP's matrices: rows of ``mlp.W_out`` are value vectors."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank on ``blocks`` (queries and values by default) and nothing else."""
    lora_alpha: float = 16.0
    """The adapters' product is scaled by alpha / rank."""

    reference: Reference = "stored"
    """How the model before training is kept, where the objective compares with it: what it says of the answers, taken
    once, or the model itself."""
    reference_top_k: int | None = None
    """UnDIAL and KL: keep only the k most likely tokens of each distribution and the mass of the others. The log says
    how much that is, and for UnDIAL how exact the gradients still are at the end."""
    bf16_inplace: bool = False
    """Step bfloat16 weights in bfloat16, AdamW's moments included, as some published checkpoints were made: small steps
    vanish. Without it AdamW works on float32 copies."""
    gradient_checkpointing: bool = False
    """Keep the residual stream between layers and compute the rest again in the backward pass."""

    checkpoint_every: int = 100
    """Steps between two states from which an interrupted run goes on."""
    stop_loss: float | None = None
    """Stop when the loss of a step is at or below this."""
    stop_perplexity_ratio: float | None = None
    """Stop when the perplexity of the monitored texts is above this multiple of what it was before."""
    check_every: int = 100
    """Steps between two looks at that perplexity; the end of each epoch is one too."""

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        for name in ("blocks", "layers", "heads", "neurons"):
            value = getattr(self, name)
            if value is not None:
                several = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
                members = tuple(each.__index__() if hasattr(each, "__index__") else each for each in several)
                object.__setattr__(self, name, members)
        check(self)
        for field in fields(self):
            if field.type in (float, float | None) and type(value := getattr(self, field.name)) is int:
                object.__setattr__(self, field.name, float(value))  # 10 and 10.0 are one setting

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "TrainConfig":
        """Published settings by name, with others in place of some of them; see ``dissect.unlearning.config.presets``.

        Raises:
            DissectError: no such preset, or as ``TrainConfig``.
        """
        from dissect.unlearning.config.presets import preset

        return make_config(preset(name) | settings)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "TrainConfig":
        """A configuration from a YAML file, in which ``preset: name`` may stand.

        Raises:
            DissectError: no such file, or not a mapping of settings that exist.
        """
        from dissect.unlearning.config.presets import read_config

        return cls(**read_config(path))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write every setting as YAML; ``read`` takes it back unchanged."""
        from dissect.unlearning.config.presets import write_config

        return write_config(self, path)

    @property
    def strength(self) -> float:
        """β of the method, the paper's where none was given."""
        return BETAS.get(self.method, 1.0) if self.beta is None else self.beta

    @property
    def step_size(self) -> int:
        """Facts in one step."""
        return self.batch_size * self.accumulate

    def factor(self, step: int, total: int, warmup: int) -> float:
        """The learning rate of ``step`` (from 0) of ``total``, the first ``warmup`` rising, as a share of ``lr``."""
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(1, total - warmup)
        return 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    def to_dict(self) -> dict[str, Any]:
        """As a plain mapping, for JSON and YAML; sequences as lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def names() -> tuple[str, ...]:
    """Every setting."""
    return tuple(field.name for field in fields(TrainConfig))


def make_config(settings: dict[str, Any]) -> TrainConfig:
    """A configuration from a mapping, of a file or of keyword arguments.

    Raises:
        DissectError: a setting that does not exist, with the name it was meant for, or as ``TrainConfig``.
    """
    for name in settings:
        if name not in names():
            raise DissectError(f"no setting {name!r}{near_miss(name, names())}: choose from {', '.join(names())}")
    return TrainConfig(**settings)
