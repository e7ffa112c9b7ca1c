"""Unlearned checkpoints of the embedded world: one for each method, and one that was destroyed and repaired."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dissect.data.facts import Facts
from dissect.models.checkpoint import mark_changed
from dissect.models.files.load import load
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.unlearn import unlearn


def forget_by_methods(
    base: Path,
    out: Path,
    methods: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Facts],
    *,
    batch_size: int,
    seed: int,
    device: str | None = None,
    reuse: bool = False,
    progress: bool = True,
) -> None:
    """Unlearn ``facts["forget"]`` by each method, and write the checkpoints to ``out`` under the methods' names.

    Args:
        methods: settings of `unlearn` by name of the checkpoint; with ``retain`` the retain loss sees
            ``facts["retain_seen"]``.
        reuse: keep finished checkpoints of the same run; otherwise all are made again.
    """
    for name, method in methods.items():
        settings = dict(method)
        retain = facts["retain_seen"] if settings.pop("retain", False) else None
        unlearn(
            load(base, device=device, progress=False),
            forget=facts["forget"],
            retain=retain,
            batch_size=batch_size,
            seed=seed,
            out=out / name,
            reuse=reuse,
            overwrite=True,
            progress=progress,
            **settings,
        )


def noise_and_repair(
    base: Path,
    out: Path,
    kept: Facts,
    *,
    noise: float,
    lr: float,
    epochs: int,
    batch_size: int,
    seed: int,
    device: str | None = None,
    progress: bool = True,
) -> None:
    """Destroy what the base model knows, and teach it what is to be kept again: a model in which little can be left.

    Args:
        kept: facts, and the plain texts that it is to speak as it did.
        noise: standard deviation of the noise in every matrix, in units of the matrix's own.
        lr, epochs: of gradient descent on ``kept``.
    """
    model = load(base, device=device, progress=False)
    generator = torch.Generator().manual_seed(seed)
    with without_gradients():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim() > 1:
                values = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(noise * parameter.std() * values)
    mark_changed(model, f"noise {noise} seed {seed}")
    unlearn(
        model, forget=kept, method="learn", lr=lr, epochs=epochs, batch_size=batch_size, seed=seed, out=out,
        overwrite=True, progress=progress,
    )  # fmt: skip
