"""How a model is trained to forget."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dissect.errors import DissectError

Method = Literal["ga"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result, apart from model and data.

    Raises:
        DissectError: a value outside of its range; the message names it and what is allowed.
    """

    method: Method = "ga"
    """Objective: ``ga`` is gradient ascent on the forget facts."""
    lr: float = 1e-5
    """Peak learning rate of AdamW."""
    epochs: int = 5
    """Passes over the forget facts."""
    batch_size: int = 8
    """Facts in one step."""
    schedule: Schedule = "constant"
    """Of the learning rate after the warm-up: constant, or falling to 0 by the last step."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm where it is longer; ``inf`` switches that off."""
    seed: int = 0
    """Of the order of the facts."""

    def __post_init__(self) -> None:
        _require(self.method in get_args(Method), "method", self.method, f"one of {', '.join(get_args(Method))}")
        _require(
            self.schedule in get_args(Schedule), "schedule", self.schedule, f"one of {', '.join(get_args(Schedule))}"
        )
        _require(0 < self.lr < math.inf, "lr", self.lr, "a positive number")
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more")
        _require(self.max_grad_norm > 0, "max_grad_norm", self.max_grad_norm, "positive (inf for none)")

    def factor(self, step: int, total: int) -> float:
        """The learning rate of ``step`` (from 0) of ``total``, as a share of ``lr``."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return 1.0
        done = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    def to_dict(self) -> dict[str, Any]:
        """As a plain mapping, for JSON."""
        return asdict(self)


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise DissectError(f"{name}={value!r}: must be {allowed}")
