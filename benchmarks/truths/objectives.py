"""Objectives in plain torch: functions of logits, the reference's logits and labels, each a scalar to minimise.

Logits at t predict the label at t + 1. Each is written from its paper, and shares no code with dissect's losses.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.truths.rows import IGNORED

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def learn(logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the scored tokens, in nats."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def ga(logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """Gradient ascent (Jang et al. 2023, arXiv:2210.01504)."""
    return -learn(logits, reference, labels)


def npo(logits: Tensor, reference: Tensor, labels: Tensor, beta: float = 0.1) -> Tensor:
    """Negative preference optimisation (Zhang et al. 2024, arXiv:2404.05868)."""
    margin = _logprob(reference, labels) - _logprob(logits, labels)
    return -2 / beta * F.logsigmoid(beta * margin).mean()


def simnpo(logits: Tensor, reference: Tensor, labels: Tensor, beta: float = 4.5) -> Tensor:
    """SimNPO (Fan et al. 2024, arXiv:2410.07163): no reference, the mean over the answer's tokens."""
    mean = _logprob(logits, labels) / (labels[:, 1:] != IGNORED).sum(1)
    return -2 / beta * F.logsigmoid(-beta * mean).mean()


def undial(logits: Tensor, reference: Tensor, labels: Tensor, gamma: float = 10.0) -> Tensor:
    """UnDIAL (Dong et al. 2024, arXiv:2402.10052): towards the reference, its true token γ nats less likely."""
    scored = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][scored]
    teacher = reference[:, :-1][scored] - gamma * F.one_hot(targets, logits.shape[-1])
    return F.cross_entropy(logits[:, :-1][scored], teacher.softmax(-1))


def flat(logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """Maximum entropy (Yuan et al. 2024, arXiv:2410.08109): every token of the answer's place equally likely."""
    scored = labels[:, 1:] != IGNORED
    return -logits[:, :-1][scored].log_softmax(-1).mean()


OBJECTIVES: dict[str, Objective] = {
    "ga": ga,
    "npo": npo,
    "simnpo": simnpo,
    "undial": undial,
    "flat": flat,
    "wrong": learn,
    "refusal": learn,
}
"""By name; ``wrong`` and ``refusal`` learn other answers, which their rows hold."""


def _logprob(logits: Tensor, labels: Tensor) -> Tensor:
    """log p of each row's scored tokens, added up."""
    targets = labels[:, 1:]
    each = logits[:, :-1].log_softmax(-1).gather(2, targets.clamp(min=0)[..., None]).squeeze(-1)
    return torch.where(targets != IGNORED, each, 0.0).sum(1)
