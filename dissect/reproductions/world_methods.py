"""Unlearned checkpoints of the embedded world: one for each of several methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.models.files.load import load
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
