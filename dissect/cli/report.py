"""`dissect report`: the autopsy as one page."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.fact_files import FactFiles, measure_options
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.jobs.task import task_of


def report(
    base: Annotated[
        str | None, typer.Argument(metavar="BASE", help="Checkpoint before unlearning.", show_default=False)
    ] = None,
    unlearned: Annotated[
        str | None, typer.Argument(metavar="UNLEARNED", help="Checkpoint after unlearning.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="REPORT.html", help="Where to write the page.", show_default=False)],
    forget: Annotated[str | None, typer.Option(metavar="FILE", help="Facts that were to be forgotten.")] = None,
    files: FactFiles,
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget facts.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of the results. [default: OUT.results]")
    ] = None,
    stored: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Draw the page from stored results, without any model."),
    ] = None,
    steps: Annotated[
        str, typer.Option(metavar="A,B", help="Compute only these steps, e.g. evaluation,activations. [default: all]")
    ] = "",
    measures: Annotated[str, typer.Option(metavar="A,B", help="Measures, as in dissect evaluate.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of a measure, e.g. relearning.lr=1e-5. May be repeated."),
    ] = None,
    window: Annotated[int | None, typer.Option(help="Layers swapped together. [default: by depth]")] = None,
    max_facts: Annotated[
        int | None, typer.Option(help="Use at most this many forget facts in the sweeps. [default: 100]")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A first look: no attack that trains, no search, no maps, 20 facts in sweeps."),
    ] = False,
    verdict: Annotated[
        Path | None,
        typer.Option(
            metavar="VERDICT.json",
            help="Use this stored verdict on the pair instead of running the panel. "
            "[default: verdict.json beside OUT, if it fits]",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "What did unlearning do?",
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32,
    task: options.Task = None,
    prompting: options.PromptOptions,
    adapter_base: options.AdapterBase = None,
    allow_extra_rows: options.AllowExtraRows = False,
    running: options.RunOptions,
) -> None:
    """Write a one-page report on what unlearning did.

    The page gives a verdict with its evidence and controls, and needs no network. Each step's results are kept beside
    the page: give the same command again to continue an interrupted report, or --from to redraw the page from them. The
    ranks of torchrun share each step.
    """
    if stored is not None:
        if base is not None or forget is not None:
            raise DissectError(
                "--from draws stored results: leave out BASE, UNLEARNED and --forget, or leave out --from"
            )
        from dissect.autopsy.report import draw

        _show(draw(stored, out, title=title))
        return
    if base is None or unlearned is None or forget is None:
        raise DissectError(
            "a report needs BASE, UNLEARNED and --forget FILE (or --from DIR): see `dissect report --help`"
        )
    outputs.check_file(out, ".html")
    task_of(task)  # before models are loaded
    facts = files.read(forget, prompting)
    settings: dict[str, Any] = {
        "window": window,
        "quick": quick,
        "batch_size": batch_size,
        "seed": running.seed,
    }
    if max_facts is not None:
        settings["max_facts"] = max_facts
    settings |= {"answers": prompting.answers, "max_new_tokens": prompting.max_new_tokens}
    if prompting.template is not None:
        settings["template"] = values.unescaped(prompting.template)
    settings["chat"] = prompting.chat_choice()
    if measured := measure_options(option, prompting):
        settings["options"] = measured
    if steps:
        settings["steps"] = tuple(values.listed(steps, "--steps"))
    if measures:
        settings["measures"] = tuple(values.listed(measures, "--measures"))
    running.start()

    from dissect.autopsy.report import check_settings, shell
    from dissect.autopsy.report import report as autopsy
    from dissect.models.pair import load_pair

    checked = check_settings(settings)  # before models are loaded
    pair = load_pair(
        base,
        unlearned,
        retrained=retrained,
        adapter_base=adapter_base,
        allow_extra_rows=allow_extra_rows,
        dtype=running.dtype,
        device=running.device,
        progress=running.progress,
    )
    if is_main():
        from dissect.autopsy.time_estimate import in_words, time_estimate
        from dissect.evaluation.sets import fact_sets

        stored_in = folder if folder is not None else out.with_name(f"{out.name}.results")
        beside = verdict if verdict is not None else out.with_name("verdict.json")
        seconds = time_estimate(pair, fact_sets(facts), checked, verdict=beside, folder=stored_in)
        if seconds:
            say(in_words(seconds) + ("" if quick else " --quick gives a first look."), err=True)
    _show(
        autopsy(
            pair,
            **facts,
            out=out,
            folder=folder,
            verdict=verdict,
            title=title,
            command=shell(sys.argv[1:]),
            task=task,
            progress=running.progress,
            **settings,
        )
    )


def _show(made: Any) -> None:
    if not is_main():
        return
    if made.verdict is None:
        say(f"No verdict: {made.results.missing.get('verdict', 'it was not computed')}")
    else:
        say(f"{made.verdict.headline}. {made.verdict.words}")
    say(f"saved {made.path}")
