"""A Markdown table of the facts that every unlearning method forgets and keeps on the embedded world.

    python benchmarks/methods.py [--base runs/demo/base] [--seeds 3] [--quick]

The first 20 of 200 people are forgotten. Of the other 180 one half is for choosing: the retain losses take their facts
from it, and learning rate and epochs are chosen on it. The other half is what the table reports; no run saw it. For
each method a grid of learning rates and epochs is searched with seed 0. Of the settings after which at most 10 % of the
forgotten facts are completed from wording that no training text had, the one that keeps most is taken (the mean of the
two shares, asked and completed, on the choosing half). The table holds other seeds: mean, lowest and highest. A seed
decides the order of the facts and the first values of adapters; the base model is one and the same.

The rate is constant, so one run with the most epochs goes through the states of all shorter ones, and is looked at
after each number of epochs in the grid. Runs go side by side, one thread each: the model is too small for more, and two
threads that wait for each other on a busy machine take many times as long.
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import dissect
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.reading.answers import reproduced
from dissect.reading.perplexity import perplexity
from dissect.reproductions.world_models import train_base
from dissect.unlearning.gradient.reference import take
from dissect.unlearning.unlearn import unlearn

TARGET, N_FORGET, BATCH, CHOOSING_SEED = 0.1, 20, 16, 0
RATES, EPOCHS = (2e-4, 5e-4, 1e-3, 2e-3), (2, 4, 6, 8, 12, 16)
ADAPTER_RATES = (1e-3, 2e-3, 5e-3, 1e-2)
QUICK_RATES, QUICK_EPOCHS = slice(1, 3), (2, 4)


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    settings: Mapping[str, Any]
    retain: bool = False
    rates: Sequence[float] = RATES


METHODS = (
    Method("ga", {"method": "ga"}),
    Method("grad_diff", {"method": "grad_diff"}, retain=True),
    Method("npo, retain nll", {"method": "npo", "retain_loss": "nll"}, retain=True),
    Method("npo, retain kl", {"method": "npo", "retain_loss": "kl"}, retain=True),
    Method("simnpo, retain nll", {"method": "simnpo"}, retain=True),
    Method("dpo, retain nll", {"method": "dpo"}, retain=True),
    Method("undial", {"method": "undial"}),
    Method("undial, retain nll", {"method": "undial"}, retain=True),
    Method("undial, lora 8", {"method": "undial", "lora_rank": 8}, rates=ADAPTER_RATES),
    Method("undial, soft focus", {"method": "undial", "focus": "soft"}),
    Method("wga, retain nll", {"method": "wga"}, retain=True),
    Method("satimp, retain nll", {"method": "satimp"}, retain=True),
    Method("ceu", {"method": "ceu"}),
)


@dataclass(frozen=True)
class Asked:
    """Some people's facts, as in training and in wording that no training text had."""

    question: Prompts
    held_out: Prompts

    def shares(self, model: Any) -> tuple[float, float]:
        """How many of each are answered word by word."""
        question, held_out = (
            float(reproduced(model, prompts).float().mean()) for prompts in (self.question, self.held_out)
        )
        return question, held_out


@dataclass(frozen=True)
class Bench:
    """The base model and everything it is asked."""

    base: Path
    forget_facts: Facts
    retain_facts: Facts
    """The choosing half."""
    forget: Asked
    choosing: Asked
    reporting: Asked
    filler: Prompts

    def load(self) -> Any:
        """A fresh base model."""
        return dissect.load(self.base, device="cpu", progress=False)

    def run(
        self, method: Method, lr: float, epochs: int, seed: int, callbacks: Sequence[Callable[..., Any]] = ()
    ) -> Any:
        """The base model after ``epochs``."""
        model = self.load()
        unlearn(
            model,
            forget=self.forget_facts,
            retain=self.retain_facts if method.retain else None,
            lr=lr,
            epochs=epochs,
            batch_size=BATCH,
            seed=seed,
            callbacks=callbacks,
            progress=False,
            **method.settings,
        )
        return model


Found = dict[tuple[float, int], tuple[float, float]]
"""By (lr, epochs): share of forget facts that is still completed, and share that is kept of the choosing half."""
Row = tuple[float, ...]
"""The columns of the table from the fourth on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="a base checkpoint of World.make(); by default one is trained")
    parser.add_argument("--seeds", type=int, default=3, help="runs that the table is the mean of")
    parser.add_argument("--only", help="rows whose name begins like this")
    parser.add_argument("--quick", action="store_true", help="one seed and a corner of the grid")
    arguments = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        world = dissect.World.make()
        base = arguments.base or train_base(world, Path(folder, "base"), progress=False)
        bench = make_bench(world, base)
        methods = [
            method for method in METHODS if applies(method, bench) and method.name.startswith(arguments.only or "")
        ]
        for method in METHODS:
            if not applies(method, bench):
                print(f"{method.name}: left out, the facts carry no focus\n")
        epochs = QUICK_EPOCHS if arguments.quick else EPOCHS
        rates = QUICK_RATES if arguments.quick else slice(None)
        seeds = range(CHOOSING_SEED + 1, CHOOSING_SEED + 1 + (1 if arguments.quick else arguments.seeds))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), context, begin_worker, (base,)) as pool:
            found = search(pool, methods, rates, epochs)
            print_grid(found, epochs)
            print_table(pool, bench, methods, found, seeds)
    print(f"\n{(time.perf_counter() - began) / 60:.1f} minutes")


def make_bench(world: dissect.World, base: Path) -> Bench:
    model = dissect.load(base, device="cpu", progress=False)
    forget, _ = world.split(N_FORGET)
    people = range(N_FORGET, len(world.people))
    halves = [world.facts(people[: len(people) // 2]), world.facts(people[len(people) // 2 :])]

    def asked(facts: Facts) -> Asked:
        return Asked(facts.prompts(model, progress=False), world.sentences(facts).prompts(model, progress=False))

    filler = Facts(Fact(text=sentence) for sentence in world.filler()).prompts(model, progress=False)
    return Bench(base, forget, halves[0], asked(forget), *(asked(half) for half in halves), filler)


def applies(method: Method, bench: Bench) -> bool:
    return "focus" not in method.settings or all("focus" in fact.extra for fact in bench.forget_facts)


WORKER: dict[str, Bench] = {}


def begin_worker(base: Path) -> None:
    torch.set_num_threads(1)
    WORKER["bench"] = make_bench(dissect.World.make(), base)


def search(pool: Executor, methods: Sequence[Method], rates: slice, epochs: Sequence[int]) -> dict[str, Found]:
    jobs = {(m.name, lr): pool.submit(search_rate, m, lr, tuple(epochs)) for m in methods for lr in m.rates[rates]}
    found: dict[str, Found] = {method.name: {} for method in methods}
    for (name, _), job in jobs.items():
        found[name] |= job.result()
    return found


def search_rate(method: Method, lr: float, epochs: Sequence[int]) -> Found:
    """One run, looked at on its way."""
    bench, found = WORKER["bench"], {}
    per_epoch = math.ceil(len(bench.forget_facts) / BATCH)

    def look(model: Any, record: dict[str, Any]) -> None:
        done, rest = divmod(record["step"], per_epoch)
        if rest == 0 and done in epochs:
            _, completed = bench.forget.shares(model)
            found[lr, done] = completed, sum(bench.choosing.shares(model)) / 2

    try:
        bench.run(method, lr, max(epochs), CHOOSING_SEED, [look])
    except dissect.DissectError as error:  # what comes after that is not among what was found
        print(f"{method.name}, lr {lr:g}: {error}", flush=True)
    return found


def best(found: Found) -> tuple[float, int]:
    """The setting that keeps most of those that forget enough, else the one that forgets most."""
    enough = [key for key, (completed, _) in found.items() if completed <= TARGET]
    if enough:
        return max(enough, key=lambda key: found[key][1])
    return min(found, key=lambda key: (found[key][0], -found[key][1]))


def print_grid(searches: Mapping[str, Found], epochs: Sequence[int]) -> None:
    print(
        f"Searched (seed {CHOOSING_SEED}): % of forget facts completed from held-out wording / % kept of the choosing"
    )
    print("half, after so many epochs; the chosen setting in bold.\n")
    print(f"| method | lr | {' | '.join(f'{n} epochs' for n in epochs)} |")
    print(f"|---|---|{'---|' * len(epochs)}")
    for name, one in searches.items():
        chosen = best(one)
        for lr in dict.fromkeys(lr for lr, _ in one):
            cells = []
            for n in epochs:
                completed, kept = one.get((lr, n), (math.nan, math.nan))
                cell = f"{100 * completed:.0f} / {100 * kept:.0f}"
                cells.append(f"**{cell}**" if (lr, n) == chosen else cell)
            print(f"| {name} | {lr:g} | {' | '.join(cells)} |")
    print(flush=True)


def print_table(
    pool: Executor, bench: Bench, methods: Sequence[Method], found: Mapping[str, Found], seeds: Sequence[int]
) -> None:
    print(f"Seeds {', '.join(map(str, seeds))}: mean (lowest to highest). Shares in %, of facts answered word by word;")
    print("retained people of the half that no run saw. p: mean over the facts of p(answer)^(1/its tokens).\n")
    print(
        "| method | lr | epochs | forget, asked | forget, held-out wording | retained, asked | retained, held-out "
        "wording | filler perplexity | forget p |"
    )
    print(f"|{'---|' * 9}")
    print_row("base", "", [measure(bench, bench.load())])
    chosen = {method.name: best(found[method.name]) for method in methods}
    jobs = {m.name: [pool.submit(measured_run, m, *chosen[m.name], seed) for seed in seeds] for m in methods}
    for name, (lr, epochs) in chosen.items():
        print_row(name, f"{lr:g} | {epochs}", [job.result() for job in jobs[name]])
    missed = [name for name, key in chosen.items() if found[name][key][0] > TARGET]
    if missed:
        print(f"\nNo setting of the grid brought held-out wording to {TARGET:.0%}: {'; '.join(missed)}.")


def measured_run(method: Method, lr: float, epochs: int, seed: int) -> Row:
    return measure(WORKER["bench"], WORKER["bench"].run(method, lr, epochs, seed))


def measure(bench: Bench, model: Any) -> Row:
    prompts = bench.forget.question
    nll = take(model, prompts, range(len(prompts)), kind="nll", batch_size=64).sequence_nll(range(len(prompts)))
    p = float((-nll / prompts.answer_lengths).exp().mean())
    shares = [100 * share for asked in (bench.forget, bench.reporting) for share in asked.shares(model)]
    return (*shares, perplexity(model, bench.filler), p)


def print_row(name: str, settings: str, rows: Sequence[Row]) -> None:
    cells = []
    for column, values in enumerate(zip(*rows, strict=True)):
        form = (lambda value: f"{value:.0f}") if column < 4 else (lambda value: f"{value:.3g}")
        mean = form(sum(values) / len(values))
        cells.append(mean if len(values) == 1 else f"{mean} ({form(min(values))} to {form(max(values))})")
    print(f"| {name} | {settings or ' | '} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
