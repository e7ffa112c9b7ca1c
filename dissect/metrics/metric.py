"""What a metric on answer positions is, and how to find one by name."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError


@dataclass(frozen=True)
class Scored:
    """What a metric sees: float32 logits at the scored positions of a batch."""

    logits: Float[Tensor, "scored d_vocab"]
    """Of the model that is measured."""
    reference: Float[Tensor, "scored d_vocab"]
    """Of the donor, at the same positions of the same texts."""
    targets: Int[Tensor, "scored"]
    """The answer's tokens; -100 where there is none."""


@dataclass(frozen=True)
class Metric:
    """A quantity for each scored position, reduced over the positions of a prompt.

    ``recovery`` needs no more than its value in the patched model, the recipient and the donor, so a distance to the
    donor (0 in the donor itself) and a score (such as the answer's log-probability) are handled alike.
    """

    name: str
    """By which users ask for it, and its name in results."""
    label: str
    """On axes."""
    measure: Callable[[Scored], Float[Tensor, "scored"]]
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    """Which direction is nearer to knowing the answer."""
    needs_targets: bool = False
    """Whether it reads ``targets``: then it cannot be taken where some position has none."""

    def per_prompt(self, scored: Scored, rows: Int[Tensor, "scored"], n_prompts: int) -> Float[Tensor, "prompt"]:
        """Mean over the scored positions of each prompt, in float64 so that the sum does not round."""
        values = self.measure(scored).double()
        total = torch.zeros(n_prompts, dtype=torch.float64, device=values.device).index_add_(0, rows, values)
        count = torch.zeros_like(total).index_add_(0, rows, torch.ones_like(values))
        return total / count


def get(name: str) -> Metric:
    """The metric of that name: module ``dissect.metrics.<name>`` holds it as ``METRIC``.

    Raises:
        DissectError: there is none; the message lists those there are.
    """
    if name in _modules():
        metric = getattr(importlib.import_module(f"dissect.metrics.{name}"), "METRIC", None)
        if metric is not None:
            return metric
    raise DissectError(f"no metric {name!r}: choose from {', '.join(available())}")


def available() -> list[str]:
    """Names of all metrics on answer positions."""
    return [name for name in _modules() if hasattr(importlib.import_module(f"dissect.metrics.{name}"), "METRIC")]


def _modules() -> list[str]:
    package = importlib.import_module("dissect.metrics")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))
