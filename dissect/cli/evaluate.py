"""`dissect evaluate`: measure what checkpoints know, say and leak."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.apart import check_apart
from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.fact_files import FactFiles, measure_options
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.jobs.task import task_of


def _list(wanted: bool) -> bool:
    """Show every measure, and the options with their defaults."""
    if not wanted:
        return wanted
    from dissect.measures.measure import available, options

    for measure in available().values():
        say(f"{measure.name}  {measure.label} ({measure.family}; {', '.join(measure.sets)})")
    say("\noptions:")
    for option in options().values():
        say(f"{option.name}={option.default}  {option.about}")
    raise typer.Exit


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Checkpoints: directories, hub ids or LoRA adapters.", show_default=False),
    ],
    *,
    forget: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Facts to be forgotten: JSONL, CSV, Parquet, ...", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="METRICS.json", help="Where to write the numbers.", show_default=False)],
    files: FactFiles,
    suite: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Benchmark that brings facts and measures: tofu, muse, wmdp, rwku or mmlu."),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="Directory with the benchmark's files.")] = None,
    verdict: Annotated[
        str | None, typer.Option(metavar="FILE", help="Show the verdict's words beside the numbers.")
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="DIR", help="Checkpoint before unlearning.")] = None,
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget facts.")
    ] = None,
    measures: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Measures or families (behaviour, memorisation, depth, robustness), or all. [default: the quick ones]",
        ),
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of a measure, e.g. uds.tau=0.1; see --list. May be repeated."),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FIGURE", help="Draw forgetting against utility to this file: .html, .png, .pdf or .svg."),
    ] = None,
    table: Annotated[Path | None, typer.Option(metavar="TABLE.csv", help="Write every number as a row.")] = None,
    examples: Annotated[
        int, typer.Option(help="Number of answers per set to keep in the output, for reading.", min=0)
    ] = 8,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Write the leaderboard: a table to sort, filter and compare. "
            "[default, with several checkpoints: beside --out]",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32,
    task: options.Task = None,
    listed: Annotated[  # acts by its callback
        bool,
        typer.Option("--list", help="Show measures and their options, and exit.", is_eager=True, callback=_list),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
    prompting: options.PromptOptions,
    adapter_base: options.AdapterBase = None,
    allow_extra_rows: options.AllowExtraRows = False,
    running: options.RunOptions,
) -> None:
    """Measure what checkpoints know, say and leak.

    METRICS.json holds every number with its definition, the number of items and an interval; a table is printed.
    Measures that need a file which is not given are named and skipped. --suite takes facts and measures from the files
    of a published benchmark in --data, and says first what it lacks. To continue an interrupted evaluation, give the
    same command again; the ranks of torchrun share the checkpoints.
    """
    outputs.check_file(out, ".json", overwrite=overwrite or not task_of(task).merges)
    if figure is not None:
        from dissect.plots import export

        outputs.check_file(figure, *export.PAGES, *export.IMAGES, option="--figure", overwrite=overwrite)
        export.check_path(figure)
    if table is not None:
        outputs.check_file(table, ".csv", option="--table", overwrite=overwrite)
    if suite is None and forget is None:
        raise DissectError("expected facts, got none: give --forget FILE, or --suite NAME with --data DIR")
    page = outputs.leaderboard(page, out, len(models), overwrite=overwrite)
    facts = files.read(forget, prompting)
    settings = measure_options(option, prompting)
    wanted: Any = values.listed(measures, "--measures") if measures else None
    if suite is not None:
        models_given = [name for name, given in (("base", base), ("retrained", retrained)) if given]
        written = {"--out": out, "--table": table, "--figure": figure, "--page": page}
        inputs = _suite(suite, data, prompting.split, models_given, written)
        facts = {"sets": inputs["sets"] | facts}
        wanted, settings = wanted or inputs["measures"], inputs["options"] | settings
    elif data is not None:
        raise DissectError("--data belongs to a benchmark: give --suite NAME as well")
    words = {} if verdict is None else _words(verdict)
    chat = prompting.chat_choice()
    running.start()

    from dissect.evaluation.evaluate import evaluate as measure

    result = measure(
        models,
        **facts,
        base=base,
        retrained=retrained,
        adapter_base=adapter_base,
        allow_extra_rows=allow_extra_rows,
        measures=wanted,
        options=settings,
        answers=prompting.answers,
        template=prompting.wording,
        chat=chat,
        max_new_tokens=prompting.max_new_tokens,
        n_examples=examples,
        dtype=running.dtype,
        device=running.device,
        batch_size=batch_size,
        seed=running.seed,
        out=out,
        task=task,
        overwrite=overwrite,
        progress=running.progress,
    )
    if not is_main():
        return
    _report(result, words)
    say(f"saved {out}")
    if table is not None:
        with atomic_file(table) as temporary:
            result.to_dataframe().to_csv(temporary, index=False)
        say(f"saved {table}")
    if figure is not None:
        from dissect import plots

        export.write(plots.tradeoff(result), figure)
        say(f"saved {figure}")
    if page is not None:
        from dissect.autopsy.interactive.leaderboard import write_leaderboard

        say(f"saved {write_leaderboard(result, page)}")


def _suite(
    name: str, data: str | None, split: str | None, models: list[str], written: dict[str, Path | None]
) -> dict[str, Any]:
    """Say what the benchmark has and lacks, and read it.

    Raises:
        DissectError: no such benchmark, no directory, a file that is needed and missing or cannot be read, or an
            output that would replace one.
    """
    from dissect.evaluation.suites.catalogue_of_suites import suite

    chosen = suite(name)
    if data is None:
        raise DissectError(f"expected a directory with the files of {name}, got none: give --data DIR")
    if is_main():
        say("\n".join(chosen.said(data, split=split, models=models)))
    check_apart(written, {"--data": list(chosen.found(data, split=split).values())})
    return chosen.inputs(data, split=split)


def _words(path: str) -> dict[str, str]:
    """The verdict on each checkpoint, by its name.

    Raises:
        DissectError: no such file, or no verdicts in it.
    """
    from dissect.verdicts.result import Verdicts

    verdicts = Verdicts.load(path)
    everyone = [*verdicts, *([verdicts.retrained] if verdicts.retrained is not None else [])]
    return {each.name: each.verdict for each in everyone}


def _report(result: Any, words: dict[str, str]) -> None:
    from dissect.cli.arguments.aligned import columns

    shown = result.table(words=words)
    if len(shown):
        say(columns([list(map(str, shown.columns)), *(list(map(str, row)) for row in shown.to_numpy())]))
    curves = sorted({row.measure for row in result.rows if row.at})
    if curves:
        say(f"\ncurves, in the file alone: {', '.join(curves)}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for refusal in result.refused:
        reasons.setdefault((refusal.measure, refusal.reason), []).append(f"{refusal.model} on {refusal.set}")
    for (measure, reason), where in reasons.items():
        say(f"not measured: {measure} ({where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}): {reason}")
