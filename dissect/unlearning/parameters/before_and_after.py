"""What some methods do to the trained weights themselves, before the first step or after the last one."""

import zlib
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from dissect.models.axes import as_matrix
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.methods import METHODS
from dissect.unlearning.parameters.masters import LowRank, Master


@without_gradients()
def perturb(masters: Sequence[Master], config: TrainConfig) -> None:
    """Destroy the trained matrices W as the method says; vectors, such as the weights of norms, stay.

    - ``noise``: W + s σ N, σ the standard deviation of W's own entries and N standard normal.
    - ``shrink``: (1 - α) W + α β X, X normal with Xavier's standard deviation √(2 / (rows + columns)). With α = 1
      nothing of W is left.

    Noise depends on the seed and the parameter's name alone.
    """
    how = METHODS[config.method].perturbs
    if how is None:
        return
    for name, leaf in chain(*(master.leaves.items() for master in masters)):
        if leaf.dim() < 2:
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(f"{config.seed} {name}".encode()))
        values = torch.randn(leaf.shape, generator=generator).to(leaf)
        if how == "noise":
            leaf.add_(config.noise * leaf.std() * values)
        else:
            deviation = (2 / sum(as_matrix(name, leaf).shape)) ** 0.5
            leaf.mul_(1 - config.undo_strength).add_(config.undo_strength * config.undo_noise * deviation * values)


def copies(masters: Sequence[Master], config: TrainConfig) -> dict[str, Tensor]:
    """Copy the leaves as they are before training, where the method goes back behind them at the end."""
    if not METHODS[config.method].negates:
        return {}
    return {name: leaf.detach().clone() for master in masters for name, leaf in master.leaves.items()}


@without_gradients()
def negate(masters: Sequence[Master], before: dict[str, Tensor], config: TrainConfig) -> None:
    """Replace what was learned by its opposite: W0 - a (W - W0) in every trained parameter; W0 to the bit for a = 0.

    Of an adapter W - W0 is s · B A, so that B becomes -a B.
    """
    if not METHODS[config.method].negates:
        return
    for master in masters:
        if isinstance(master, LowRank):
            master.factors[1].mul_(-config.task_scale)
            continue
        for name, leaf in master.leaves.items():
            if config.task_scale == 0:
                leaf.copy_(before[name])
            else:
                leaf.copy_(before[name] - config.task_scale * (leaf - before[name]))
