"""python -m benchmarks.truths --seed 0 --out DIR: make the population of a seed; finished models are not made again."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks.truths import others, suppressed
from benchmarks.truths.bench import SMALL, Bench, Settings, Truth


def make_population(settings: Settings, out: Path, *, limit: int | None = None, progress: bool = True) -> list[Truth]:
    """Every model of a seed, in ``out``; what is no valid construction is left out, and named in ``refused.txt``."""
    bench = Bench(settings, out)
    bench.base  # noqa: B018  # the tokenizer lies beside it
    done = bench.known()
    refused = out / "refused.txt"
    tried = set(done) | set(refused.read_text().split() if refused.is_file() else ())
    for make in (others.candidates, suppressed.candidates):
        began = time.time()
        for truth, model in make(bench):
            if truth.name in tried or (limit is not None and len(done) >= limit):
                continue
            if truth.kind == "suppressed":
                good = suppressed.acceptable(bench, truth, model)
            else:
                truth.checks = bench.checks(model)
                good = others.acceptable(truth)
            if good:
                bench.keep(truth, model)
                done[truth.name] = truth
            else:
                with refused.open("a") as file:
                    file.write(truth.name + "\n")
            if progress:
                checks = ", ".join(f"{name} {value:.2f}" for name, value in truth.checks.items())
                print(f"{time.time() - began:6.1f} s  {truth.name:28} {'' if good else 'REFUSED '}{checks}", flush=True)
    return list(done.values())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    settings = replace(SMALL if arguments.small else Settings(), seed=arguments.seed)
    made = make_population(settings, arguments.out, limit=arguments.limit)
    print(len(made), "models")


if __name__ == "__main__":
    main()
