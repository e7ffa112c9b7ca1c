"""The whole story on the embedded world: learn, forget, compare, patch, restore, show."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.data.world import World
from dissect.errors import DissectError
from dissect.files import atomic_file, check_new_directory
from dissect.metrics.answers import reproduced
from dissect.models.load import load
from dissect.models.pair import ModelPair, load_pair
from dissect.patching.patch import patch
from dissect.provenance import versions
from dissect.reproductions.demo_page import Recall, write_page
from dissect.reproductions.world_models import train_base
from dissect.restoration.restore import restore
from dissect.restoration.smallest import smallest_set
from dissect.sweep.join import concat
from dissect.unlearning.unlearn import unlearn

log = logging.getLogger(__name__)

SETTINGS_FILE = "demo.json"
"""Marks a directory as the demo's own, which may be written again."""


@dataclass(frozen=True)
class DemoSettings:
    """What the demo trains and how it forgets."""

    n_people: int = 200
    n_attributes: int = 4
    n_forget: int = 20
    """So many people are forgotten, with all their attributes."""
    n_layers: int = 6
    d_model: int = 128
    lr: float = 2e-4
    """Of gradient ascent."""
    epochs: int = 4
    batch_size: int = 16
    window: int = 3
    """Layers swapped together: half of them. (The paper swaps 5 of 32.)"""
    seed: int = 0


def run_demo(
    out: str | os.PathLike[str],
    *,
    settings: DemoSettings | None = None,
    device: str | None = None,
    dtype: str = "float32",
    progress: bool = True,
) -> Path:
    """Train a base model, let it forget some people by gradient ascent, and dissect the two checkpoints.

    Writes ``base/`` and ``ga/`` (Hugging Face directories), ``forget.jsonl`` and ``retain.jsonl``,
    ``activations.nc`` and ``parameters.nc`` (sweeps with their controls), ``smallest.json`` and ``index.html``. A base
    model that an earlier demo left in
    ``out`` with the same settings is used again.

    Returns:
        the path of the page.

    Raises:
        DissectError: ``out`` holds something that is not a demo.
    """
    settings = settings or DemoSettings()
    out = Path(out)
    world = World.make(settings.n_people, settings.n_attributes, seed=settings.seed)
    forget, retain = world.split(settings.n_forget)
    base = _base(world, out, settings, device, progress)
    forget.write(out / "forget.jsonl")
    retain.write(out / "retain.jsonl")
    model = load(base, device=device, progress=False)
    unlearn(
        model,
        forget=forget,
        method="ga",
        lr=settings.lr,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        out=out / "ga",
        overwrite=True,
        progress=progress,
    )
    del model
    pair = load_pair(base, out / "ga", dtype=dtype, device=device, progress=False)
    prompts = forget.prompts(pair.base, answers="base", progress=False)
    activations = patch(pair, prompts, window=settings.window, controls=True, progress=progress)
    parameters = restore(pair, prompts, window=settings.window, controls=True, progress=progress)
    smallest = smallest_set(pair, prompts, progress=progress)
    activations.save(out / "activations.nc")
    parameters.save(out / "parameters.nc")
    smallest.save(out / "smallest.json")
    return write_page(
        out / "index.html",
        pair=pair,
        prompts=prompts,
        result=concat(activations, parameters),
        smallest=smallest,
        recall=[
            _recall(pair, "forgotten people", forget),
            _recall(pair, "everybody else", retain),
        ],
        settings=asdict(settings),
    )


def _base(world: World, out: Path, settings: DemoSettings, device: str | None, progress: bool) -> Path:
    """The base checkpoint: made, or found where an earlier demo with the same settings left it."""
    wanted: dict[str, Any] = {
        "versions": versions(),
        **{key: getattr(settings, key) for key in ("n_people", "n_attributes", "n_layers", "d_model", "seed")},
    }
    marker = out / SETTINGS_FILE
    if not marker.is_file():
        check_new_directory(out)
    elif _content(marker) == wanted and (out / "base").is_dir():
        log.info("using the base model in %s", out / "base")
        return out / "base"
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(marker) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1))
    return train_base(
        world,
        out / "base",
        n_layers=settings.n_layers,
        d_model=settings.d_model,
        seed=settings.seed,
        device=device or "cpu",
        overwrite=True,
        progress=progress,
    )


def _content(marker: Path) -> Any:
    try:
        return json.loads(marker.read_text())
    except json.JSONDecodeError as error:
        raise DissectError(f"{marker} is damaged ({error}): delete it, or choose another directory") from error


def _recall(pair: ModelPair, who: str, facts: Facts) -> Recall:
    prompts: Prompts = facts.prompts(pair.tokenizer)
    share = [float(reproduced(model, prompts).float().mean()) for model in (pair.base, pair.unlearned)]
    return Recall(who, len(facts), *share)
