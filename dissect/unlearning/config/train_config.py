"""Training settings: every one of them, with the values that it allows."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dissect.data.chat.chat_settings import chat_as_data
from dissect.data.text_windows import check_windows
from dissect.errors import DissectError, near_miss
from dissect.unlearning.config.config_checks import check_together
from dissect.unlearning.config.objective_settings import ObjectiveSettings
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.setting_types import (
    Blocks,
    Count,
    CountOrZero,
    Finite,
    Heads,
    Keep,
    Layers,
    Neurons,
    NotNegative,
    Positive,
    PositiveOrAuto,
    PositiveOrInf,
    Reference,
    Schedule,
    Share,
    Switch,
    setting_type,
)
from dissect.unlearning.methods import METHODS

LORA_BLOCKS = ("attn.W_Q", "attn.W_V")
"""Matrices that carry adapters where no blocks are set: the UnDIAL paper's choice."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ObjectiveSettings):
    """Everything that decides the result, apart from model and data.

    The loss of a step is ``forget_weight`` · forget loss + ``retain_weight`` · retain loss, each a mean over the
    whole step, however many micro-batches it is computed in.

    The command line of ``dissect unlearn`` is made from the fields: the annotation says which values are allowed, and
    the first sentence below a field is its help text.

    Raises:
        DissectError: a value outside of its range, or settings that do not go together; the message names what is
            allowed.
    """

    __no_type_check__ = True  # a value of another type is a user's mistake like any other: checked below, by name

    lr: PositiveOrAuto = 1e-5
    """Peak learning rate of AdamW, or auto: a probe finds it. See `dissect.unlearning.run.find_rate`."""
    epochs: Count = 5
    """Passes over the forget facts."""
    max_steps: Count | None = None
    """Stop after this many steps, even mid-epoch. The learning rate falls as if there were no more."""
    batch_size: Count = 8
    """Facts in one micro-batch."""
    accumulate: Count = 1
    """Micro-batches in one step. The step is that of one large batch of them all."""
    schedule: Schedule = "constant"
    """Learning-rate schedule after warm-up. Falling schedules reach 0 one step after the last, as in transformers."""
    warmup_steps: CountOrZero = 0
    """Steps over which the learning rate rises. Step k of W, from 0, has (k + 1) / (W + 1) of the peak. (transformers
    has k / W, so that its first step does nothing.)"""
    warmup_epochs: NotNegative = 0.0
    """Epochs over which the learning rate rises. The longer of the two warm-ups counts."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay of AdamW, on every trained parameter. (transformers' Trainer leaves norms and biases
    out.)"""
    max_grad_norm: PositiveOrInf = 1.0
    """Clip gradients to this norm; inf disables clipping."""
    seed: CountOrZero = 0
    """Random seed. It decides the order of the facts and the first values of adapters."""

    blocks: Blocks = ()
    """Parameter blocks to train. By default all of them; with adapters, only queries and values."""
    layers: Layers | None = None
    """Layers to train. By default all."""
    heads: Heads | None = None
    """Heads to train, in attention's matrices. By default all."""
    neurons: Neurons | None = None
    """Neurons to train, in the MLP's matrices. By default all. Rows of ``mlp.W_out`` are value vectors."""
    lora_rank: CountOrZero = 0
    """Train low-rank adapters of this rank instead of the weights; 0 for none."""
    lora_alpha: Positive = 16.0
    """Scale of the adapters: their product is multiplied by alpha / rank."""

    reference: Reference = "stored"
    """Reference model, where the objective compares with one: stored caches its outputs; live keeps it in memory."""
    reference_top_k: Count | None = None
    """Cache only the k most likely tokens of each distribution, and the total probability of the others. The log says
    how much that is, and at the end how exact the gradients still are."""
    bf16_inplace: Switch = False
    """Update bfloat16 weights in bfloat16, without float32 copies, as for some published checkpoints. Small steps
    vanish; without it AdamW
    steps float32 copies."""
    gradient_checkpointing: Switch = False
    """Recompute activations in the backward pass: less memory, more time."""

    chat: Mapping[str, Any] | None = None
    """Train in the model's own chat template: its settings, as `chat` of `Facts.prompts`; True for its defaults, False
    to leave it out without being told of it."""
    max_length: int | None = None
    """Cut plain texts into windows of this many tokens. By default only those longer than the context."""
    stride: int | None = None
    """Tokens from the beginning of a window to that of the next. By default windows do not overlap."""

    checkpoint_every: Count = 100
    """Steps between two saved states, from which an interrupted run continues."""
    stop_loss: Finite | None = None
    """Stop when the loss of a step is at or below this."""
    stop_perplexity_ratio: Positive | None = None
    """Stop when the perplexity of the monitored texts exceeds this multiple of its first value."""
    stop_forget: Share | None = None
    """Stop when a check finds at most this share of the forget answers given."""
    stop_retain: Share | None = None
    """Stop when a check finds that fewer than this share of the retained answers given before are given still."""
    keep: Keep = "last"
    """Keep the last weights, or those of the best check. See `dissect.unlearning.run.best`."""
    check_every: Count = 100
    """Steps between two checks of the facts, and of the perplexity for --stop-perplexity-ratio. Each epoch ends with
    one as well."""

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        kinds = {field.name: setting_type(field.type) for field in fields(self)}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if kind.plain is tuple and value is not None:
                members = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
                value = tuple(each.__index__() if hasattr(each, "__index__") else each for each in members)
                object.__setattr__(self, name, value)
            if kind.rule is not None and not (value is None and kind.optional):
                kind.rule.check(name, value)
            if kind.plain is float and type(value) is int:
                object.__setattr__(self, name, float(value))  # 10 and 10.0 are one setting
        object.__setattr__(self, "chat", chat_as_data(self.chat))
        check_windows(self.max_length, self.stride)
        check_together(vars(self), {field.name: field.default for field in fields(self)})

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "TrainConfig":
        """Return published settings by name, with others in place of some of them; see ``config/presets.py``.

        Raises:
            DissectError: no such preset, or as `TrainConfig`.
        """
        return make_config(preset(name) | settings)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "TrainConfig":
        """Read a configuration from a YAML file, in which ``preset: name`` may stand.

        Raises:
            DissectError: no such file, or not a mapping of settings that exist.
        """
        from dissect.unlearning.config.settings_file import read_settings

        settings = read_settings(path)
        try:
            return make_config(settings)
        except DissectError as error:
            raise DissectError(f"{path}: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write every setting as YAML; `read` takes it back unchanged."""
        from dissect.unlearning.config.settings_file import write_settings

        return write_settings(self.to_dict(), path)

    @property
    def strength(self) -> float:
        """β of the method: the published value where none was given, 1 where the method has none."""
        published = METHODS[self.method].beta
        return (1.0 if published is None else published) if self.beta is None else self.beta

    @property
    def needs_checks(self) -> bool:
        """Whether a setting depends on which facts are still answered."""
        return self.keep == "best" or self.stop_forget is not None or self.stop_retain is not None

    @property
    def step_size(self) -> int:
        """Number of facts in one step."""
        return self.batch_size * self.accumulate

    def to_dict(self) -> dict[str, Any]:
        """Return a plain mapping for JSON and YAML, with lists in place of tuples.

        Settings of later versions are written only where they are set: runs from before stay the same.
        """
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {
            k: v for k, v in settings.items() if k not in _LEFT_OUT or not (v is None or v is False or v == _default(k))
        }


_LEFT_OUT = (
    *("chat", "max_length", "stride"),
    *("stop_forget", "stop_retain", "keep"),
    *("steering_layer", "steering_coeff", "adaptive"),
    *("retain_eps", "dual_step", "dual_warmup_epochs"),
    *("task_scale", "noise", "undo_strength", "undo_noise"),
)
"""Settings that are written only where they are set to something else."""


def _default(name: str) -> object:
    return getattr(TrainConfig, name)


def names() -> tuple[str, ...]:
    """Names of all settings."""
    return tuple(field.name for field in fields(TrainConfig))


def make_config(settings: dict[str, Any]) -> TrainConfig:
    """Make a configuration from a mapping, of a file or of keyword arguments.

    Raises:
        DissectError: a setting that does not exist, with the name it was meant for, or as `TrainConfig`.
    """
    for name in settings:
        if name not in names():
            raise DissectError(f"no setting {name!r}{near_miss(name, names())}: choose from {', '.join(names())}")
    return TrainConfig(**settings)
