"""Order in which facts are seen: all of it decided by the seed before the first step."""

import math
from dataclasses import dataclass

import torch

from dissect.unlearning.config.train_config import TrainConfig


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch: indices of forget facts, and of as many retained facts where there are any."""

    forget: list[int]
    retain: list[int]


@dataclass(frozen=True)
class TrainStep:
    """The facts that one step of the optimiser sees."""

    epoch: int
    last_of_epoch: bool
    micros: list[MicroBatch]


def order(n_forget: int, n_retain: int, config: TrainConfig) -> list[TrainStep]:
    """Lay out every step of a run.

    Each epoch passes once over the forget facts in a new order. Retained facts come one for one beside them, in orders
    of their own that do not repeat a fact before all were seen. ``max_steps`` cuts the run off.
    """
    forget = torch.Generator().manual_seed(config.seed)
    retained = _endless(n_retain, config.epochs * n_forget, config.seed + 1)
    steps, taken = [], 0
    for epoch in range(config.epochs):
        shuffled = torch.randperm(n_forget, generator=forget).tolist()
        for start in range(0, n_forget, config.step_size):
            of_step = shuffled[start : start + config.step_size]
            micros = []
            for begin in range(0, len(of_step), config.batch_size):
                facts = of_step[begin : begin + config.batch_size]
                micros.append(MicroBatch(facts, retained[taken : taken + len(facts)]))
                taken += len(facts)
            steps.append(TrainStep(epoch, start + config.step_size >= n_forget, micros))
    return steps[: config.max_steps]


def warmup(config: TrainConfig, n_forget: int) -> int:
    """Number of steps over which the learning rate rises: the longer of the two settings."""
    per_epoch = math.ceil(n_forget / config.step_size)
    return max(config.warmup_steps, round(config.warmup_epochs * per_epoch))


def share_of_rate(config: TrainConfig, step: int, total: int, n_rising: int) -> float:
    """Learning rate of ``step`` (from 0) as a share of the peak.

    Args:
        config: has the schedule.
        step: number of the step.
        total: steps of the whole run.
        n_rising: steps at the beginning over which the rate rises.
    """
    if step < n_rising:
        return (step + 1) / (n_rising + 1)
    if config.schedule == "constant":
        return 1.0
    done = (step - n_rising) / max(1, total - n_rising)
    return 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


def _endless(n: int, n_drawn: int, seed: int) -> list[int]:
    """Draw ``n_drawn`` of ``n`` indices, in orders that repeat none before all were drawn."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = []
    while n and len(drawn) < n_drawn:
        drawn.extend(torch.randperm(n, generator=generator).tolist())
    return drawn[:n_drawn]
