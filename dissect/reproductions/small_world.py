"""A world that is made in half a minute: the notebooks' and the tests'."""

import os
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.models.files.load import load
from dissect.reproductions.demo import world_facts, world_models
from dissect.reproductions.demo_settings import DemoSettings
from dissect.unlearning.unlearn import unlearn

SMALL = DemoSettings(
    n_people=24,
    n_attributes=3,
    n_forget=6,
    n_layers=4,
    d_model=64,
    methods={
        "ga": {"method": "ga", "lr": 5e-4, "epochs": 4},
        "npo": {"method": "npo", "lr": 1e-3, "epochs": 8, "retain": True},
        "undial": {"method": "undial", "lr": 1e-3, "epochs": 16},
    },
    batch_size=8,
    window=3,
    relearning={"relearning.lr": 5e-4, "relearning.steps": 12},
)
"""The demo's settings, with 24 people."""


def small_world(out: str | os.PathLike[str], *, settings: DemoSettings = SMALL, progress: bool = False) -> Path:
    """The checkpoints and facts of the demo, without the dissection; what is there is taken as it is.

    Writes ``base/``, ``retrained/``, ``ga/``, ``npo/``, ``undial/``, ``forget.jsonl``, ``retain.jsonl`` and its halves.

    Raises:
        DissectError: ``out`` holds something else.
    """
    out = Path(out)
    world = World.make(settings.n_people, settings.n_attributes, seed=settings.seed)
    base, _ = world_models(world, out, settings, None, progress)
    facts: dict[str, Facts] = world_facts(world, out, settings.n_forget)
    for name, how in settings.methods.items():
        given: dict[str, Any] = {**how, "batch_size": settings.batch_size, "seed": settings.seed}
        kept = facts["retain_seen"] if given.pop("retain", False) else None
        if (out / name).is_dir():
            continue
        model = load(base, progress=False)
        unlearn(model, forget=facts["forget"], retain=kept, out=out / name, progress=progress, **given)
    return out
