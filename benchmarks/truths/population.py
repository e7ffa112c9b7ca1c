"""The population: which models there are, made one after the other, each finished when its record is there."""

import json
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm.auto import tqdm

from benchmarks.truths.bench import BIRTHPLACE, PEOPLE, Bench
from benchmarks.truths.checking import record_of
from benchmarks.truths.constructions import (
    blocks,
    breaking,
    erased,
    grounds,
    knowing,
    never,
    partial,
    readout,
    redirecting,
    trained,
)
from benchmarks.truths.recipe import Recipe
from benchmarks.truths.record import RECORDS, Record, read_records, write_record
from benchmarks.truths.settings import CLASSES, Settings
from benchmarks.truths.store import FACTS, write_put_back, write_weights
from dissect.errors import DissectError, near_miss
from dissect.files import atomic_file

log = logging.getLogger(__name__)

SETTINGS = "settings.json"
"""In each seed's directory: the settings that everything in it was made with."""


def make_population(
    settings: Settings,
    out: str | Path,
    *,
    count: int | None = None,
    only: Collection[str] = (),
    names: Collection[str] = (),
    progress: bool = False,
) -> list[Record]:
    """Make the models of one seed that are not there yet.

    Models that others need are made as well. What was finished before an interruption is taken as it is, and the rest
    comes out as it would have.

    Args:
        settings: the world and its seed, such as ``STANDARD`` or ``SMALL``.
        out: the directory of this seed.
        count: about so many models, spread evenly over the classes and their constructions; None makes all.
        only: classes to make.
        names: models to make, by name.
        progress: show a bar over the models.

    Returns:
        The records of all models in ``out``.

    Raises:
        DissectError: ``out`` holds a population of other settings, or there is no such class or model.

    Example:
        >>> records = make_population(SMALL, "runs/truths/small")  # doctest: +SKIP
        >>> sum(record.exact for record in records)  # doctest: +SKIP
        20
    """
    every = every_recipe()
    chosen = choose(every, names or settings.names, only, count)
    bench = Bench(settings, Path(out))
    _begin(bench)
    missing = [recipe for recipe in chosen if not (bench.directory / RECORDS / f"{recipe.name}.json").is_file()]
    with tqdm(total=len(missing), desc=f"truths of seed {settings.seed}", unit="model", disable=not progress) as bar:
        for recipe in missing:
            bar.set_postfix_str(recipe.name)
            make(bench, recipe, progress=progress)
            bar.update()
    return read_records(out)


def every_recipe() -> list[Recipe]:
    """All models that there can be; each stands behind those that it needs."""
    return [
        *grounds.recipes(),
        *knowing.recipes(),
        *erased.recipes(),
        *blocks.recipes(),
        *redirecting.recipes(),
        *readout.recipes(),
        *never.recipes(),
        *partial.recipes(),
        *breaking.recipes(),
        *trained.recipes(),
    ]


def make(bench: Bench, recipe: Recipe, *, progress: bool = False) -> Record:
    """Make one model, check it, and keep it; the record is written last."""
    for name in dict.fromkeys(("base", recipe.ground)):
        grounds.ground(bench, name, progress=progress)
    began = time.process_time()
    with torch.no_grad():
        made = recipe.make(bench)
    weights = {name: value.detach() for name, value in made.model.state_dict().items()}
    changed = write_weights(bench.directory, recipe.name, recipe.ground, weights)
    if made.put_back is not None:
        write_put_back(bench.directory, recipe.name, made.put_back)
    record = record_of(bench, recipe, made, changed, seconds=lambda: time.process_time() - began)
    write_record(bench.directory, record)
    log.info("%s: %s, label %s, %.0f s", record.name, record.kind, record.label, record.seconds)
    return record


def choose(
    every: Sequence[Recipe], names: Collection[str] | None, only: Collection[str] = (), count: int | None = None
) -> list[Recipe]:
    """Some of the recipes, and those that they need, in order.

    Raises:
        DissectError: there is no such model or class.
    """
    by_name = {recipe.name: recipe for recipe in every}
    for name in names or ():
        if name not in by_name:
            raise DissectError(f"no model {name!r}{near_miss(name, by_name)}: see benchmarks.truths.population")
    for kind in only:
        if kind not in CLASSES:
            raise DissectError(f"no class {kind!r}{near_miss(kind, CLASSES)}: choose from {', '.join(CLASSES)}")
    wanted = [recipe for recipe in every if (not names or recipe.name in names) and (not only or recipe.kind in only)]
    if count is not None and count < len(wanted):
        share = count / len(wanted)
        wanted = [r for kind in CLASSES for r in _spread([r for r in wanted if r.kind == kind], share)]
    taken = {recipe.name for recipe in wanted}
    taken |= {name for recipe in wanted for name in recipe.needs}
    return [recipe for recipe in every if recipe.name in taken]


def _spread(recipes: list[Recipe], share: float) -> list[Recipe]:
    """A share of them at even distances, and at least one."""
    number = max(1, round(share * len(recipes)))
    return [recipes[(2 * i + 1) * len(recipes) // (2 * number)] for i in range(min(number, len(recipes)))]


def _begin(bench: Bench) -> None:
    """The directory with its settings and facts."""
    wanted = {key: value for key, value in asdict(bench.settings).items() if key != "names"}
    path = bench.directory / SETTINGS
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != wanted:
        raise DissectError(f"{bench.directory} holds a population of other settings ({path}): choose another directory")
    if not path.is_file() and bench.directory.is_dir() and any(bench.directory.iterdir()):
        raise DissectError(f"{bench.directory} holds something else than a population: choose another directory")
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    for forget in (PEOPLE, BIRTHPLACE):
        for part, facts in bench.facts(forget).items():
            facts.write(bench.directory / FACTS / f"{forget}.{part}.jsonl")
