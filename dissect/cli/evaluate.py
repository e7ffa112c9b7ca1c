"""`dissect evaluate`: measure what checkpoints know, say and leak."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.fact_files import FactFiles, measure_options
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
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
        str,
        typer.Option(metavar="FILE", help="Facts to be forgotten: JSONL, CSV, Parquet, ...", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="METRICS.json", help="Where to write the numbers.", show_default=False)],
    files: FactFiles,
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
    Measures that need a file which is not given are named and skipped. To continue an interrupted evaluation, give the
    same command again; the ranks of torchrun share the checkpoints.
    """
    outputs.check_file(out, ".json", overwrite=overwrite or not task_of(task).merges)
    if figure is not None:
        from dissect.plots import export

        outputs.check_file(figure, *export.PAGES, *export.IMAGES, option="--figure", overwrite=overwrite)
        export.check_path(figure)
    if table is not None:
        outputs.check_file(table, ".csv", option="--table", overwrite=overwrite)
    page = outputs.leaderboard(page, out, len(models), overwrite=overwrite)
    facts = files.read(forget, prompting)
    settings = measure_options(option, prompting)
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
        measures=values.listed(measures, "--measures") if measures else None,
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
    _report(result)
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
        from dissect.autopsy.leaderboard import write_leaderboard

        say(f"saved {write_leaderboard(result, page)}")


def _report(result: Any) -> None:
    from dissect.cli.arguments.aligned import columns

    shown = result.table()
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
