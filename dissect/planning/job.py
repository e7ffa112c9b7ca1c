"""A job whose memory is to be planned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dissect.errors import DissectError, near_miss
from dissect.models.accounting import DTYPE_BYTES, PROMPTS_AT_ONCE
from dissect.unlearning.config.setting_types import OneOf, setting_type
from dissect.unlearning.config.train_config import LORA_BLOCKS, TrainConfig
from dissect.unlearning.method_record import Method
from dissect.unlearning.methods import METHODS


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sweep or a training run. The defaults are those of ``dissect patch`` and ``dissect unlearn``."""

    train: bool = False
    """Unlearning; otherwise an activation sweep of the papers' components between two checkpoints."""
    dtype: str = "float32"
    """Precision of the models."""
    batch_size: int = PROMPTS_AT_ONCE
    """Texts in one forward pass."""
    length: int = 128
    """Tokens of a prompt with its answer."""
    answer: int = 32
    """Tokens of the answer: the positions whose logits are read."""
    n_facts: int = 400
    """Number of facts."""
    gpu: bool = False
    """True if it runs on a GPU. A CPU computes some things in another way, and keeps memory that was freed."""

    sequential: bool = False
    """Sweeps: hold one model in memory at a time."""

    method: str = TrainConfig.method
    """Training: objective on the forget facts."""
    epochs: int = TrainConfig.epochs
    """Training: passes over the facts."""
    lora_rank: int = TrainConfig.lora_rank
    """Training: rank of the adapters; 0 for none."""
    blocks: Sequence[str] = TrainConfig.blocks
    """Training: matrices to train; empty for all parameters."""
    bf16_inplace: bool = TrainConfig.bf16_inplace
    """Training: step bfloat16 weights in bfloat16."""
    gradient_checkpointing: bool = TrainConfig.gradient_checkpointing
    """Training: recompute activations in the backward pass."""
    reference: str = TrainConfig.reference
    """Training: keep the reference's outputs (``stored``) or the model (``live``)."""
    panel: bool = False
    """Training: an attack of ``dissect verdict``, which keeps the weights as they were beside it."""
    several: bool = False
    """Training: whether a step has several backward passes, for retained facts or more than one micro-batch."""

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        if self.dtype not in DTYPE_BYTES:
            close = near_miss(self.dtype, DTYPE_BYTES)
            raise DissectError(f"dtype={self.dtype!r}{close}: choose from {', '.join(DTYPE_BYTES)}")
        for name in ("method", "reference"):
            rule = setting_type(TrainConfig.__dataclass_fields__[name].type).rule
            assert isinstance(rule, OneOf)
            rule.check(name, getattr(self, name))
        for name in ("batch_size", "length", "answer", "n_facts", "epochs"):
            if getattr(self, name) < 1:
                raise DissectError(f"{name}={getattr(self, name)}: must be 1 or more")
        if self.answer >= self.length:
            raise DissectError(f"answer={self.answer}: it is a part of the text, whose length is {self.length}")
        if self.train and self.dtype == "float16":
            raise DissectError("dtype='float16' cannot be trained: use float32 or bfloat16")

    @property
    def objective(self) -> Method:
        """Record of the training method."""
        return METHODS[self.method]

    @property
    def item(self) -> int:
        """Bytes of one number of the model."""
        return DTYPE_BYTES[self.dtype]

    @property
    def trained_blocks(self) -> Sequence[str]:
        """Matrices that are trained or carry adapters; empty for all parameters.

        A method that by default trains some layers alone counts as if it trained all: the plan is then too high.
        """
        scope = (self.objective.scope,) if self.objective.scope else ()
        return self.blocks or scope or (LORA_BLOCKS if self.lora_rank else ())

    def tokens(self, ranks: int = 1) -> int:
        """Tokens of a batch on one rank: texts of a training step are split over the ranks, those of a sweep not."""
        return self._texts(ranks) * self.length

    def scored(self, ranks: int = 1) -> int:
        """Positions of a batch whose logits one rank reads."""
        return self._texts(ranks) * self.answer

    def _texts(self, ranks: int) -> int:
        texts = min(self.batch_size, self.n_facts)
        return math.ceil(texts / ranks) if self.train else texts
