"""Make populations of known truth: python -m benchmarks.truths --seeds 0 1 --out runs/truths."""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.truths.population import make_population
from benchmarks.truths.record import Record
from benchmarks.truths.settings import CLASSES, DEMO, SMALL, STANDARD

PRESETS = {"standard": STANDARD, "small": SMALL, "demo": DEMO}


def main() -> None:
    """Make one population after the other, each in ``OUT/seedN``, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="World seeds, a population each.")
    parser.add_argument("--out", type=Path, required=True, help="Directory of the populations.")
    parser.add_argument("--count", type=int, help="About so many models a seed, spread over the classes.")
    parser.add_argument("--only", nargs="+", default=[], metavar="CLASS", help=f"Classes: {', '.join(CLASSES)}.")
    parser.add_argument("--names", nargs="+", default=[], help="Models by name.")
    parser.add_argument("--world", choices=PRESETS, default="standard", help="Size of the world.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING if arguments.quiet else logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # models as small: a second thread costs more than it gives
    for seed in arguments.seeds:
        settings = replace(PRESETS[arguments.world], seed=seed)
        records = make_population(
            settings,
            arguments.out / f"seed{seed}",
            count=arguments.count,
            only=arguments.only,
            names=arguments.names,
            progress=not arguments.quiet,
        )
        print(summary(seed, records), flush=True)


def summary(seed: int, records: Sequence[Record]) -> str:
    """How many models of each class there are, with which labels, and what they cost."""
    lines = [f"seed {seed}: {len(records)} models, {sum(record.exact for record in records)} of them exact"]
    lines += ["", "| class | models | labels | missed | s a model |", "|---|---|---|---|---|"]
    for kind in CLASSES:
        mine = [record for record in records if record.kind == kind]
        if mine:
            labels = ", ".join(f"{label} {n}" for label, n in Counter(record.label for record in mine).most_common())
            missed = ", ".join(record.name for record in mine if record.made.get("missed"))
            seconds = sum(record.seconds for record in mine) / len(mine)
            lines.append(f"| {kind} | {len(mine)} | {labels} | {missed} | {seconds:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
