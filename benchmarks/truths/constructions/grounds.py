"""Models trained from nothing: the base, its twin of another seed, and those that were never told."""

from collections.abc import Iterable
from functools import partial

from benchmarks.truths.bench import BIRTHPLACE, PEOPLE, Bench
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.store import GROUNDS
from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.errors import DissectError
from dissect.reproductions.world_models import train_base

SEEDS = {"base": 0, "twin": 101, "retrained-a": 202, "retrained-b": 303, "retrained-birthplace": 404}
"""Added to ten thousand times the world's seed."""
LENGTHS = (None, 900, 1800)
"""Most steps of training, tried one after the other until all questions are answered; None is `train_base`'s own."""


class WithoutBirthplaces(World):
    """A world for a model that is told nobody's birthplace."""

    def _told(self) -> tuple[str, ...]:
        return tuple(attribute.name for attribute in self.attributes if attribute.name != BIRTHPLACE)

    def facts(self, people=None) -> Facts:  # type: ignore[no-untyped-def]
        """All facts but birthplaces."""
        told = self._told()
        return super().facts(people).filter(lambda fact: fact.extra["attribute"] in told)


def ground(bench: Bench, name: str, *, progress: bool = False) -> None:
    """Train a ground, unless it is there."""
    if bench.has_ground(name):
        return
    world, people = _source(bench, name)
    for number, max_steps in enumerate(LENGTHS, start=1):
        try:
            train_base(
                world,
                bench.directory / GROUNDS / name,
                people=people,
                batch_size=2 * bench.settings.batch_size,
                max_steps=max_steps,
                seed=10_000 * bench.settings.seed + SEEDS[name],
                n_layers=bench.settings.n_layers,
                d_model=bench.settings.d_model,
                progress=progress,
            )
            return
        except DissectError:  # a few questions were still open when the learning rate had fallen
            if number == len(LENGTHS):
                raise


def told(bench: Bench, name: str) -> list[str]:
    """The texts that a ground is trained on."""
    world, people = _source(bench, name)
    return world.texts(people)


def _source(bench: Bench, name: str) -> tuple[World, Iterable[int] | None]:
    world = bench.world
    if name.endswith(BIRTHPLACE):
        world = WithoutBirthplaces(world.people, world.attributes, world.n_held_out, world.n_filler, world.seed)
    return world, bench.others if name in ("retrained-a", "retrained-b") else None


def as_it_is(bench: Bench, name: str) -> Made:
    """A ground as a model of the population."""
    return Made(model=bench.fresh(name), how={"trained": "from nothing"})


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, family="from nothing", exact=True)
    knows, never = partial(recipe, kind="knows", dose=1.0), partial(recipe, kind="never", dose=0.0)
    made = [knows(name=name, ground=name, make=partial(as_it_is, name=name)) for name in ("base", "twin")]
    for name in ("retrained-a", "retrained-b", f"retrained-{BIRTHPLACE}"):
        forget = BIRTHPLACE if name.endswith(BIRTHPLACE) else PEOPLE
        made.append(never(name=name, ground=name, forget=forget, make=partial(as_it_is, name=name)))
    return made
