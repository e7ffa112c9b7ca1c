"""A world that is made in half a minute: the notebooks' and the tests'."""

import os
from pathlib import Path

from dissect.data.world import World
from dissect.reproductions.demo import world_facts, world_models
from dissect.reproductions.demo_settings import DemoSettings
from dissect.reproductions.world_methods import forget_by_methods

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
    attacks=("as_asked", "held_out_wordings", "continued_kept"),
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
    facts = world_facts(world, out, settings.n_forget)
    missing = {name: method for name, method in settings.methods.items() if not (out / name).is_dir()}
    forget_by_methods(base, out, missing, facts, batch_size=settings.batch_size, seed=settings.seed, progress=progress)
    return out
