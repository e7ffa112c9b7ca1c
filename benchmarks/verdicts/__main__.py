"""Judge a population, or score what was judged: python -m benchmarks.verdicts judge|score|redealt ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from benchmarks.verdicts.judging import counted, judge, read_judged
from benchmarks.verdicts.page import page
from benchmarks.verdicts.redealt import p_of_worlds, said


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge, score, or re-deal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("judge", help="Put models before the panel; goes on where it stopped.")
    one.add_argument("population", type=Path, help="Directory of one seed.")
    one.add_argument("--every", action="store_true", help="Also models whose truth is not exact.")
    one.add_argument("--rivals", action="store_true", help="Also other measures.")
    one.add_argument("--first", type=int, help="Only so many, spread over the strata.")
    one.add_argument("--part", default="1/1", help="2/3: every third model, from the second on.")
    score = commands.add_parser("score", help="Tables of what was judged, as Markdown.")
    score.add_argument("populations", type=Path, nargs="+", help="Directories of seeds that are tested on.")
    score.add_argument("--lines", type=Path, nargs="+", help="Directories on which the rivals' lines are chosen.")
    score.add_argument("--without", default=[], nargs="+", help="Families that are left out, such as 'taught later'.")
    dealt = commands.add_parser("redealt", help="Is p uniform? One never-knowing model in re-dealt worlds.")
    dealt.add_argument("population", type=Path, help="Directory of one seed.")
    dealt.add_argument("--model", default="retrained-a", help="A model that never knew.")
    dealt.add_argument("--worlds", type=int, default=200, help="So many dealings of the answers.")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # models as small: a second thread costs more than it gives
    if options.command == "score":
        lines = [judged for path in options.lines or () for judged in read_judged(path)]
        judged = [judged for path in options.populations for judged in read_judged(path)]
        print(page([each for each in judged if each.record.family not in options.without], lines))
        return
    if options.command == "redealt":
        print(said(options.model, p_of_worlds(options.population, options.model, options.worlds)))
        return
    part, parts = map(int, options.part.split("/"))
    records = counted(options.population, every=options.every)[: options.first][part - 1 :: parts]
    for judged in (bar := tqdm(judge(options.population, records, rivals=options.rivals), total=len(records))):
        bar.set_postfix_str(f"{judged.record.name} ({judged.record.label}): {judged.verdict.verdict}")


if __name__ == "__main__":
    main()
