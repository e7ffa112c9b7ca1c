"""The dual variable of primal-dual unlearning (PDU; Entesari et al. 2025, arXiv:2506.05314)."""

from collections.abc import Mapping, Sequence
from typing import Any

from dissect.unlearning.config.train_config import TrainConfig

LEAST = 1e-100
"""Stands for 0, so that the retain loss can be read off the weighted one; a gradient of this weight moves nothing."""


def dual_variable(config: TrainConfig, records: Sequence[Mapping[str, Any]]) -> float:
    """Weight λ of the retain loss in the step that follows ``records``.

    λ begins at ``retain_weight``; after each step past the warm-up λ ← max(0, λ + η (L - ε)), L the retain loss of
    that step. Everything that it depends on stands in the records, so that a run that continues has the same λ.
    Without ε the weight is constant.
    """
    if config.retain_eps is None:
        return config.retain_weight
    if not records:
        return max(LEAST, config.retain_weight)
    last = records[-1]
    weight = float(last["retain_weight"])
    if last["epoch"] < config.dual_warmup_epochs:
        return weight
    return max(LEAST, weight + config.dual_step * (last["retain"] / weight - config.retain_eps))
