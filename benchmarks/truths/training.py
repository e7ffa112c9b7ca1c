"""The one training loop: AdamW on some parameters, or on some entries of them, until a condition holds."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, Parameter

log = logging.getLogger(__name__)

BETAS, CLIP, WARM_UP = (0.9, 0.95), 1.0, 5
RETRIES = 4
"""How often training goes back and on with half the learning rate before it gives up."""


@dataclass(frozen=True)
class Ending:
    """When training ends before its last step."""

    reached: Callable[[], bool]
    """Looked at after every few steps."""
    beyond: float = 0.0
    """After that, so many times as many steps again: strengths of one construction."""
    every: int = 4


def train(
    model: Module,
    loss: Callable[[], Tensor],
    *,
    names: Iterable[str] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    lr: float,
    steps: int,
    ending: Ending | None = None,
    spoilt: Callable[[], bool] | None = None,
    decay: bool = False,
) -> int:
    """Train in place; everything that is not named stays as it is, to the bit.

    Args:
        model: what is trained.
        loss: the loss of the next batch.
        names: parameters that are trained; None takes all, or those that have a mask.
        masks: by name, True at the entries that are trained. AdamW without weight decay moves an entry only by its own
            gradients, so the others stay as they are.
        lr: learning rate, after a few steps of warm-up.
        steps: at most so many.
        ending: when to end before.
        spoilt: looked at as often; where it holds, the weights go back to the last time that it did not, and training
            goes on with half the learning rate, a few times.
        decay: let the learning rate fall linearly to a tenth.

    Returns:
        Steps taken.
    """
    chosen = set(masks if masks is not None else names if names is not None else dict(model.named_parameters()))
    parameters = _only(model, chosen)
    optimizer = _optimizer(parameters)
    every = ending.every if ending else Ending.every
    good, last, step, retries = _copies(parameters) if spoilt else {}, steps, 0, 0
    while step < last:
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, step / WARM_UP) * (1 - 0.9 * step / steps if decay else 1.0)
        with torch.enable_grad():
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
        for name, mask in (masks or {}).items():
            gradient = parameters[name].grad
            assert gradient is not None
            gradient.mul_(mask)
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        if step % every and step != last:
            continue
        if spoilt is not None and spoilt():
            _put(parameters, good)
            retries += 1
            if retries > RETRIES:
                break
            lr, optimizer = lr / 2, _optimizer(parameters)  # its moments belong to the way that was left
            continue
        if spoilt is not None:
            good = _copies(parameters)
        if ending is not None and ending.reached():
            last = min(steps, step + round(ending.beyond * step))
            ending = None
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return step


def _optimizer(parameters: Mapping[str, Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters.values(), lr=0.0, betas=BETAS, weight_decay=0.0)


def _only(model: Module, chosen: set[str]) -> dict[str, Parameter]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return {name: parameter for name, parameter in model.named_parameters() if name in chosen}


def _copies(parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def _put(parameters: Mapping[str, Parameter], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
