"""The embedded world as a config: what figures are made of where nothing is given."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.reproductions.demo import world_facts, world_models
from dissect.reproductions.demo_settings import METHODS, DemoSettings
from dissect.reproductions.world_methods import forget_by_methods

WORLD_METHODS: Mapping[str, Mapping[str, Any]] = {
    "grad_diff": {"method": "grad_diff", "lr": 2e-4, "epochs": 12, "retain": True},
    "dpo": {"method": "dpo", "lr": 3e-4, "epochs": 12, "retain": True},
    **METHODS,
}
"""GradDiff and DPO, the methods of Hong et al. (2024), and those of the demo."""
_QUICK: dict[str, Any] = {
    "n_people": 24,
    "n_attributes": 3,
    "n_forget": 6,
    "n_layers": 4,
    "d_model": 64,
    "batch_size": 8,
}
_QUICK_METHODS: Mapping[str, Mapping[str, Any]] = {
    "grad_diff": {"method": "grad_diff", "lr": 1e-3, "epochs": 6, "retain": True},
    "npo": {"method": "npo", "lr": 1e-3, "epochs": 8, "retain": True},
    "undial": {"method": "undial", "lr": 1e-3, "epochs": 16},
}


def world_config(
    out: Path, *, unlearned: bool, quick: bool, seed: int, device: str | None, progress: bool
) -> dict[str, Any]:
    """Make the world in ``out``, or find it there, and say what is where.

    Base and retrained model, facts, and with ``unlearned`` a checkpoint for each of ``WORLD_METHODS``. Whoever made the
    directory with ``dissect demo`` finds its models used again.
    """
    settings = replace(DemoSettings(seed=seed), **(_QUICK if quick else {}))
    world = World.make(settings.n_people, settings.n_attributes, seed=seed)
    base, retrained = world_models(world, out, settings, device, progress)
    facts = world_facts(world, out, settings.n_forget)
    Facts.from_dataset([{"text": text} for text in world.filler()]).write(out / "texts.jsonl")
    _sequences(facts["forget"]).write(out / "sequences.jsonl")
    methods = _QUICK_METHODS if quick else WORLD_METHODS
    if unlearned:
        forget_by_methods(
            base,
            out / "unlearned",
            methods,
            facts,
            batch_size=settings.batch_size,
            seed=seed,
            device=device,
            reuse=True,
            progress=progress,
        )
    files = {"retain": "retain_unseen", "unrelated": "retain_unseen"}
    sets = ("forget", "retain", "retain_seen", "unrelated", "texts", "sequences")
    model: dict[str, Any] = {
        "base": os.fspath(base),
        "retrained": os.fspath(retrained),
        "facts": {name: os.fspath(out / f"{files.get(name, name)}.jsonl") for name in sets},
    }
    if unlearned:
        model |= {"unlearned": os.fspath(out / "unlearned" / "{method}"), "methods": list(methods)}
    return {"models": {"world": model}}


def _sequences(facts: Facts) -> Facts:
    """Return the sentences about the facts, with what may be in focus in each."""
    rows = []
    for fact in facts:
        name, value = fact.extra["subject"], fact.answer
        spans = {"value": [value], "name and value": [name, value]}
        rows += [{"text": text, "spans": spans, "subject": name} for text in fact.extra["paraphrases"]]
    return Facts.from_dataset(rows)
