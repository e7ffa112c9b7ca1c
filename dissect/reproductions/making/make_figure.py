"""One figure in one call: page, image, table and where they come from."""

import importlib
import importlib.util
import json
import logging
import os
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.distributed import is_main
from dissect.errors import DissectError, near_miss
from dissect.files import atomic_file
from dissect.jobs.journal import key_of
from dissect.jobs.journals import Journals
from dissect.jobs.task import task_of
from dissect.locks import in_turn
from dissect.reproductions.making.catalogue import FIGURES, Figure, find

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from dissect.reproductions.making.figure_inputs import Config
    from dissect.reproductions.making.figure_work import FigureWork, Made

log = logging.getLogger(__name__)

_WORLD, _QUICK_WORLD = "world", "world-quick"
"""Directories that figures made without a config share."""
_IMAGES = (".png", ".pdf")


@dataclass(frozen=True)
class Reproduced:
    """A figure that was made, and its files."""

    table: "pd.DataFrame"
    """The numbers behind the figure."""
    figure: "go.Figure"
    files: list[Path]
    """All that was written: pages, images, tables, and last the provenance."""
    notes: list[str]
    """Notes on what went differently than asked."""


def reproduce(
    name: str,
    out: str | os.PathLike[str],
    config: Any = None,
    *,
    quick: bool = False,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "float32",
    images: bool | None = None,
    command: str = "",
    task: str | None = None,
    progress: bool = True,
) -> Reproduced:
    """Make a figure of the papers anew, with its table.

    Writes ``NAME.html`` (and ``.png``, ``.pdf``), ``NAME.csv`` and ``NAME.json`` (versions, seed, settings,
    fingerprints of the checkpoints, command) into ``out``, further pages and tables as ``NAME-….html`` and ``.csv``.
    What is computed for a checkpoint is kept in ``out/NAME`` and not computed again, after an interruption or for
    another drawing.

    Args:
        name: one of ``FIGURES``.
        out: a directory; figures made without a config share the world that is made in it.
        config: a YAML file, the name of one that comes with dissect, or its content; see docs/reproductions.md. By
            default the embedded world as it is.
        quick: a smaller world and smaller settings, to see that all of it runs.
        seed: of everything drawn at random, training included.
        device, dtype: of the models; a dtype in the config comes first.
        images: also write PNG and PDF; by default where the extra ``image`` is installed and a browser is found.
        command: how to repeat it, for the provenance.
        task: ``"3/8"``: the third of eight parts of what is computed, as one task of a job array. The task that comes
            last writes the figure. Under ``torchrun`` the ranks share what is computed in the same way.

    Raises:
        DissectError: a figure, key, setting or checkpoint that does not exist, or facts that cannot be read; all but
            what is wrong with a checkpoint before any work.
        Unfinished: this task of a job array has done its part, and others have not.
    """
    from dissect.reproductions.making.figure_config import read_config
    from dissect.reproductions.making.figure_work import FigureWork

    figure, out, whose = find(name), Path(out), task_of(task)
    progress = progress and is_main()
    module = importlib.import_module(f"dissect.reproductions.figures.{figure.module}")
    if out.exists() and not out.is_dir():
        raise DissectError(f"{out} is a file: give a directory")
    source = config
    if source is None:
        from dissect.reproductions.making.world_config import world_config

        where = out / (_QUICK_WORLD if quick else _WORLD)
        wanted = "unlearned" in figure.needs
        with in_turn(out / f".{where.name}.lock") if whose.count > 1 else nullcontext():
            source = world_config(where, unlearned=wanted, quick=quick, seed=seed, device=device, progress=progress)
    read = read_config(source, FIGURES)
    settings = _settings(module, figure, read, world=config is None, quick=quick)
    folder = out / (f"{figure.name}-quick" if quick else figure.name)
    work = FigureWork(
        figure.name,
        read,
        settings,
        folder,
        seed=seed,
        device=device,
        dtype=read.dtype or dtype,
        progress=progress,
    )
    _check(figure, read, work)
    said = command or _command(figure, out, config, quick=quick, seed=seed)
    about = {"command": said, "world": config is None, "quick": quick, "seed": seed}
    record = out / f"{folder.name}.json"
    with Journals(work.store.path("job", _job(figure, read, work), ""), key_of(_job(figure, read, work)), whose) as job:
        work.journals = job
        made = module.make(work)
        job.finish(lambda: _write_all(figure, made, work, out / folder.name, about, images))
    files = [out / file for file in json.loads(record.read_text(encoding="utf-8"))["files"]]
    return Reproduced(made.tables[""], made.figures[""], [*files, record], list(made.notes))


def _job(figure: Figure, config: "Config", work: "FigureWork") -> dict[str, Any]:
    """Return what the processes that make a figure together must agree on."""
    from dissect.provenance import versions

    return {
        "figure": figure.name,
        "settings": dict(work.settings),
        "config": dict(config.content),
        "seed": work.seed,
        "dtype": work.dtype,
        "versions": versions(),
    }


def _write_all(
    figure: Figure, made: "Made", work: "FigureWork", stem: Path, about: Mapping[str, Any], images: bool | None
) -> None:
    """Pages, images and tables, and last the provenance."""
    from dissect.provenance import versions

    files = _write(made, stem, images)
    content = {
        "figure": figure.name,
        "about": figure.about,
        "source": figure.source,
        **about,
        "dtype": work.dtype,
        "settings": dict(work.settings),
        "config": dict(work.config.content),
        "facts": _facts_of(work.config, work),
        "checkpoints": dict(sorted(work.checkpoints.items())),
        "versions": versions(),
        "notes": list(made.notes),
        "files": [file.name for file in files],
    }
    with atomic_file(stem.with_name(f"{stem.name}.json")) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str, ensure_ascii=False), encoding="utf-8")


def _command(figure: Figure, out: Path, config: Any, *, quick: bool, seed: int) -> str:
    """Return the command line; empty where the config was no file."""
    if not isinstance(config, (str, os.PathLike, type(None))):
        return ""
    options = [] if config is None else ["--config", os.fspath(config)]
    options += ["--quick"] if quick else []
    options += ["--seed", str(seed)] if seed else []
    return shlex.join(["dissect", "reproduce", figure.name, "--out", str(out), *options])


def _settings(module: Any, figure: Figure, config: "Config", *, world: bool, quick: bool) -> dict[str, Any]:
    """The figure's own settings, what differs on the world and in a trial, and what the config says, in this order."""
    settings = dict(module.SETTINGS[figure.name])
    settings |= module.WORLD.get(figure.name, {}) if world else {}
    settings |= module.QUICK.get(figure.name, {}) if quick else {}
    for key, value in config.settings.get(figure.name, {}).items():
        if key not in settings:
            known = ", ".join(settings)
            raise DissectError(f"{figure.name} has no setting {key!r}{near_miss(str(key), settings)}: it has {known}")
        settings[key] = value
    return settings


def _check(figure: Figure, config: "Config", work: "FigureWork") -> None:
    """Every model has what the figure needs, and every file of facts can be read."""
    for model in config.models:
        for key in figure.needs:
            if not getattr(model, key):
                raise DissectError(f"{figure.name} needs {key} of model {model.name!r}: give it in the config")
        for name in figure.facts:
            work.needed(model, name, model.ids[0])
        for name in model.facts:
            for id in model.ids:
                work.facts(model, name, id)


def _facts_of(config: "Config", work: "FigureWork") -> dict[str, Any]:
    from dissect.evaluation.sets import fingerprint

    described = {}
    for model in config.models:
        for name in model.facts:
            for id in model.ids:
                facts = work.facts(model, name, id)
                if facts is not None:
                    key = " ".join(part for part in (model.name, name, id if model.facts[name].of_one else "") if part)
                    described[key] = {"n": len(facts), "fingerprint": fingerprint(facts)}
    return described


def _write(made: "Made", stem: Path, images: bool | None) -> list[Path]:
    from dissect import plots

    files = []
    draw = importlib.util.find_spec("kaleido") is not None if images is None else images
    for end, drawn in made.figures.items():
        files.append(plots.write(drawn, _named(stem, end, ".html")))
        for suffix in _IMAGES if draw else ():
            try:
                files.append(plots.write(drawn, _named(stem, end, suffix)))
            except DissectError as error:
                if images:
                    raise
                log.info("no image: %s", error)  # kaleido without a browser
                draw = False
                break
    for end, table in made.tables.items():
        file = _named(stem, end, ".csv")
        with atomic_file(file) as temporary:
            table.to_csv(temporary, index=False, float_format="%.10g")
        files.append(file)
    return files


def _named(stem: Path, end: str, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}{'-' if end else ''}{end}{suffix}")
