"""The whole story on the embedded world: learn, forget in three ways, compare, dissect, show."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from dissect.autopsy.report import report
from dissect.autopsy.results import ABOUT_FILE
from dissect.autopsy.steps import STEPS
from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.errors import DissectError
from dissect.evaluation.evaluate import evaluate
from dissect.files import atomic_file, check_new_directory
from dissect.models.pair import load_pair
from dissect.provenance import versions
from dissect.reproductions.demo_page import lead, sections
from dissect.reproductions.demo_settings import DemoSettings
from dissect.reproductions.world_methods import forget_by_methods, noise_and_repair
from dissect.reproductions.world_models import train_base
from dissect.verdicts.verdict import verdict

log = logging.getLogger(__name__)

SETTINGS_FILE = "demo.json"
"""Marks a directory as the demo's own, which may be written again."""
REPAIRED = "noise-and-repair"
"""Directory of the checkpoint that was destroyed and repaired."""
COMPARED = ("exact_match", "answer_probability", "uds", "quantisation")
"""Measures by which the three checkpoints are compared."""


def run_demo(
    out: str | os.PathLike[str],
    *,
    settings: DemoSettings | None = None,
    device: str | None = None,
    dtype: str = "float32",
    progress: bool = True,
) -> Path:
    """Train a base model, let it forget some people by three methods, compare the checkpoints and dissect one of them.

    Writes Hugging Face directories (``base/``, ``retrained/``, which never heard of these people, and one for each
    method), the facts (``forget.jsonl``; ``retain.jsonl``, of everybody else; and its halves ``retain_seen.jsonl``, for
    retain losses, and ``retain_unseen.jsonl``, for measuring), ``noise-and-repair/``, ``verdict.json`` (the panel of
    attacks on all of them), ``methods.json`` (the comparison), ``results/`` (what
    the page is made of) and ``index.html``. Base and retrained models that an earlier demo left in ``out`` with the
    same settings are used again.

    Returns:
        the path of the page.

    Raises:
        DissectError: ``out`` holds something that is not a demo.
    """
    settings = settings or DemoSettings()
    out = Path(out)
    world = World.make(settings.n_people, settings.n_attributes, seed=settings.seed)
    base, retrained = world_models(world, out, settings, device, progress)
    facts = world_facts(world, out, settings.n_forget)
    forget_by_methods(
        base,
        out,
        settings.methods,
        facts,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device,
        progress=progress,
    )
    texts = Facts.from_dataset([{"text": text} for text in world.filler()])
    noise_and_repair(
        base,
        out / REPAIRED,
        Facts([*facts["retain"], *texts]),
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device,
        progress=progress,
        **settings.repaired,
    )
    judged = verdict(
        {name: out / name for name in (*settings.methods, REPAIRED)},
        base=base,
        retrained=retrained,
        forget=facts["forget"],
        retain=facts["retain_unseen"],
        texts=texts,
        attacks=settings.attacks,
        dtype=dtype,
        device=device,
        seed=settings.seed,
        out=out / "verdict.json",
        overwrite=True,
        progress=progress,
    )
    compared = evaluate(
        {name: out / name for name in settings.methods},
        forget=facts["forget"],
        retain=facts["retain_unseen"],
        base=base,
        retrained=retrained,
        measures=COMPARED,
        dtype=dtype,
        device=device,
        n_examples=0,
        seed=settings.seed,
        progress=progress,
    )
    compared.save(out / "methods.json")
    pair = load_pair(base, out / settings.dissected, retrained=retrained, dtype=dtype, device=device, progress=False)
    made = report(
        pair,
        forget=facts["forget"],
        retain=facts["retain_unseen"],
        texts=texts,
        out=out / "index.html",
        folder=_fresh(out / "results"),
        answers="base",
        window=settings.window,
        attacks=settings.attacks,
        options=dict(settings.relearning),
        seed=settings.seed,
        title=f"What did {settings.dissected} do?",
        lead=lead(settings),
        extra=sections(compared, judged, out, settings),
        command=f"dissect demo --seed {settings.seed}",
        progress=progress,
    )
    return made.path


def world_facts(world: World, out: Path, n_forget: int) -> dict[str, Facts]:
    """Return the forget facts, and the retain facts in two halves by people: one for training, one for measuring."""
    forget, retain = world.split(n_forget)
    half = n_forget + (len(world.people) - n_forget) // 2
    facts = {
        "forget": forget,
        "retain": retain,
        "retain_seen": world.facts(range(n_forget, half)),
        "retain_unseen": world.facts(range(half, len(world.people))),
    }
    for name, each in facts.items():
        each.write(out / f"{name}.jsonl")
    return facts


def world_models(
    world: World, out: Path, settings: DemoSettings, device: str | None, progress: bool
) -> tuple[Path, Path]:
    """The base model and one that never heard of the forgotten people: made, or found from an earlier demo."""
    wanted: dict[str, Any] = {
        "versions": versions(),
        **{k: getattr(settings, k) for k in ("n_people", "n_attributes", "n_forget", "n_layers", "d_model", "seed")},
    }
    marker = out / SETTINGS_FILE
    fits = marker.is_file() and _content(marker) == wanted
    if not marker.is_file():
        check_new_directory(out)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(marker) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1))
    others = range(settings.n_forget, settings.n_people)
    for name, people in (("base", None), ("retrained", others)):
        if fits and (out / name).is_dir():
            log.info("using the model in %s", out / name)
            continue
        train_base(
            world,
            out / name,
            people=people,
            n_layers=settings.n_layers,
            d_model=settings.d_model,
            seed=settings.seed,
            device=device or "cpu",
            overwrite=True,
            progress=progress,
        )
    return out / "base", out / "retrained"


def _fresh(folder: Path) -> Path:
    """The folder of an earlier demo's results is begun anew: the checkpoints were made again."""
    for name in (ABOUT_FILE, *(step.file for step in STEPS.values())):
        for file in folder.glob(f"{name}*"):  # its journals included
            file.unlink()
    return folder


def _content(marker: Path) -> Any:
    try:
        return json.loads(marker.read_text())
    except json.JSONDecodeError as error:
        raise DissectError(f"{marker} is damaged ({error}): delete it, or choose another directory") from error
