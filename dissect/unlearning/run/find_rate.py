"""``lr='auto'``: the highest learning rate at which a few steps leave the retained facts as they are.

A rate that is right for one size of model ruins another, and published rates are those of 7B models. So some steps of
the run itself are taken at one rate after the other, each from the weights before training, which are put back.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.clipping import clip_gradients
from dissect.unlearning.gradient.micro import StepGradient
from dissect.unlearning.gradient.order import TrainStep
from dissect.unlearning.gradient.training_data import TrainingData
from dissect.unlearning.parameters.masters import Master, push
from dissect.unlearning.run.checkup import MOVED, Check, asked

log = logging.getLogger(__name__)

RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""Rates that are tried, from below, until one does harm."""
PROBE_STEPS = 8
"""Steps at each rate, or all steps of a shorter run."""
HARM = 0.1
"""Nats a token by which the loss on the retained facts may rise in the probe."""


@dataclass(frozen=True)
class Tried:
    """One rate: what its steps did to the two losses, in nats a token; positive is less likely answers."""

    lr: float
    forget: float
    retain: float

    @property
    def harms(self) -> bool:
        """Whether retained facts have become less likely than `HARM` allows, or the loss is not finite."""
        return not self.retain <= HARM


@dataclass(frozen=True)
class FoundRate:
    """The rate that a run takes, and all that were tried."""

    lr: float
    tried: list[Tried]

    def to_dict(self) -> dict[str, Any]:
        """A plain mapping for the log."""
        return {"lr": self.lr, "tried": [asdict(each) for each in self.tried]}

    def __str__(self) -> str:
        """One line with all rates."""
        rates = "; ".join(f"{each.lr:g}: forget {each.forget:+.2f}, retain {each.retain:+.2f}" for each in self.tried)
        return f"lr={self.lr:g}, the highest of those tried that leaves retained facts (nats a token: {rates})"

    @property
    def complaint(self) -> str | None:
        """What is wrong with the rate, if anything."""
        chosen = next(each for each in self.tried if each.lr == self.lr)
        if chosen.harms:
            return f"even lr={self.lr:g}, the lowest tried, makes retained facts less likely: give a lower lr"
        if abs(chosen.forget) < MOVED:
            return f"no rate that leaves retained facts moves the forget loss in {PROBE_STEPS} steps: give lr yourself"
        return None


def rate(
    gradient: StepGradient,
    steps: Sequence[TrainStep],
    masters: Sequence[Master],
    config: TrainConfig,
    model: HookedTransformer,
    data: TrainingData,
    write: Callable[[dict[str, Any]], None],
    progress: bool,
) -> float:
    """Peak learning rate of a run: the one that is set, or one that is found, which the log then says."""
    if isinstance(config.lr, float):
        return config.lr
    found = find_rate(gradient, steps, masters, config, lambda: asked(model, data, config, 0), progress=progress)
    log.info("%s", found)
    if found.complaint is not None:
        log.warning("%s", found.complaint)
    write({"event": "lr", "step": 0, **found.to_dict()})
    return found.lr


def find_rate(
    gradient: StepGradient,
    steps: Sequence[TrainStep],
    masters: Sequence[Master],
    config: TrainConfig,
    ask: Callable[[], Check],
    *,
    progress: bool,
) -> FoundRate:
    """Try the rates on a copy of what is trained; the weights are afterwards those from before, to the bit.

    Args:
        gradient: of the run.
        steps: of the run, of which the first `PROBE_STEPS` are taken.
        masters: what is trained.
        config: of the run.
        ask: reads the losses of the model as it is now.
        progress: show a bar.
    """
    leaves = {name: leaf for master in masters for name, leaf in master.leaves.items()}
    probed = steps[:PROBE_STEPS]
    before, tried = ask(), []
    for lr in tqdm(RATES, "finding lr", disable=not progress, leave=False):
        with from_here(leaves, masters):
            optimizer = torch.optim.AdamW(list(leaves.values()), lr=lr, weight_decay=config.weight_decay, fused=True)
            for number, step in enumerate(probed):
                gradient.backward(step, number)
                for leaf in leaves.values():
                    if leaf.grad is None:
                        leaf.grad = torch.zeros_like(leaf)
                clip_gradients(leaves.values(), config.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                push(masters)
            tried.append(_compared(lr, before, ask()))
        if tried[-1].harms:
            break
    harmless = [each.lr for each in tried if not each.harms]
    return FoundRate(max(harmless, default=RATES[0]), tried)


@undone
def from_here(leaves: Mapping[str, Tensor], masters: Sequence[Master]) -> Iterator[None]:
    """Train in the body; afterwards every leaf and parameter has its value from before."""
    kept = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    try:
        yield
    finally:
        with without_gradients():
            for name, leaf in leaves.items():
                leaf.copy_(kept[name])
                leaf.grad = None
        push(masters)


def _compared(lr: float, before: Check, after: Check) -> Tried:
    assert before.retain is not None and after.retain is not None
    forget, retain = after.forget.loss - before.forget.loss, after.retain.loss - before.retain.loss
    return Tried(lr, forget, retain if math.isfinite(retain) else math.inf)
