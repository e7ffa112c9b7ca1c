"""Models that never knew, each also put through unlearning of what it does not know."""

from dataclasses import replace
from functools import partial

from benchmarks.truths.bench import BIRTHPLACE, PEOPLE, Bench
from benchmarks.truths.learning import taught
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import texts_of
from benchmarks.truths.unlearning import METHODS, as_published, unlearn
from dissect.data.fact import Fact
from dissect.data.world import Person, World

STARTS = {
    "retrained-a": METHODS,
    "retrained-b": ("ga", "npo", "undial", "simnpo", "refusal"),
    "newcomers": METHODS[:4],
    "wrong-answers": ("ga", "npo", "undial", "grad_diff", "rmu"),
    "retrained-birthplace": ("ga", "npo"),
}
"""Models that are unlearned from, and the methods that each is put through."""
STEPS, LR = 24, 1e-3


def newcomers(bench: Bench, label: str) -> Made:
    """Told about as many people that the world does not have, with the same first and last names newly joined."""
    model, rng = bench.fresh("retrained-a"), bench.random(label)
    world, number = bench.world, bench.settings.n_forget
    taken = {person.name for person in world.people}
    first, last = (sorted({person.name.split()[part] for person in world.people}) for part in (0, 1))
    free = [f"{a} {b}" for a in first for b in last if f"{a} {b}" not in taken]
    people = tuple(
        Person(name, {attribute.name: rng.choice(attribute.values) for attribute in world.attributes})
        for name in rng.sample(free, number)
    )
    facts = World(people, world.attributes, world.n_held_out, 0, world.seed).facts()
    return Made(model=model, how=taught(bench, model, facts, label), learnt=texts_of(facts))


def wrong_answers(bench: Bench, label: str) -> Made:
    """Told that the people to be forgotten have other values, for each another one of the same kind."""
    model, rng = bench.fresh("retrained-b"), bench.random(label)
    facts = [
        _with_value(bench.world, fact, rng.choice(fact.extra["perturbed"])) for fact in bench.facts(PEOPLE)["forget"]
    ]
    return Made(model=model, how=taught(bench, model, facts, label), learnt=texts_of(facts))


def then_unlearned(bench: Bench, start: str, method: str, label: str, forget: str = PEOPLE) -> Made:
    """Put through unlearning of the true facts, as a model that knew them would be."""
    model = bench.fresh(start)
    how = as_published(bench, method, lr=LR, steps=STEPS)
    steps = unlearn(bench, model, how, label, forget=forget)
    return Made(model=model, how={"start": start} | steps, learnt=bench.retain_texts if forget == PEOPLE else ())


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="never", dose=0.0, exact=True)
    told = {"newcomers": ("retrained-a", newcomers), "wrong-answers": ("retrained-b", wrong_answers)}
    made = [
        recipe(name=name, family="told others", ground=ground, make=partial(tell, label=name))
        for name, (ground, tell) in told.items()
    ]
    for start, methods in STARTS.items():
        for method in methods:
            name, forget = f"{start}-{method}", BIRTHPLACE if start.endswith(BIRTHPLACE) else PEOPLE
            made.append(
                recipe(
                    name=name,
                    family=f"{start}, then unlearned",
                    ground=told[start][0] if start in told else start,
                    needs=(start,),
                    forget=forget,
                    make=partial(then_unlearned, start=start, method=method, label=name, forget=forget),
                )
            )
    return made


def _with_value(world: World, fact: Fact, value: str) -> Fact:
    """A fact with another value, in every wording."""
    person, attribute = world.people[fact.extra["person"]], fact.extra["attribute"]
    people = list(world.people)
    people[fact.extra["person"]] = Person(person.name, {**person.values, attribute: value})
    other = replace(world, people=tuple(people)).facts([fact.extra["person"]])
    return next(each for each in other if each.extra["attribute"] == attribute)
