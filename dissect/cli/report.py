"""`dissect report`: the autopsy as one page."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.jobs.task import task_of


def report(
    base: Annotated[
        str | None, typer.Argument(metavar="BASE", help="Checkpoint before unlearning.", show_default=False)
    ] = None,
    unlearned: Annotated[
        str | None, typer.Argument(metavar="UNLEARNED", help="Checkpoint after it.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="REPORT.html", help="Where to write the page.", show_default=False)],
    forget: Annotated[str | None, typer.Option(metavar="FILE", help="What was to be forgotten.")] = None,
    retain: Annotated[str | None, typer.Option(metavar="FILE", help="What was to be kept.")] = None,
    unrelated: Annotated[str | None, typer.Option(metavar="FILE", help="Facts that have to do with neither.")] = None,
    texts: Annotated[str | None, typer.Option(metavar="FILE", help="Plain texts, for perplexity.")] = None,
    nonmembers: Annotated[
        str | None, typer.Option(metavar="FILE", help="Facts that no model ever saw, for membership inference.")
    ] = None,
    retain_model: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget facts.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results are kept. [default: OUT.results]")
    ] = None,
    stored: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Draw the page from stored results; no model is needed."),
    ] = None,
    steps: Annotated[
        str, typer.Option(metavar="A,B", help="Only these: evaluation, activations, parameters, smallest, ...")
    ] = "",
    measures: Annotated[str, typer.Option(metavar="A,B", help="Of the evaluation, as in dissect evaluate.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of a measure, such as relearning.lr=1e-5. May be repeated."),
    ] = None,
    window: Annotated[int | None, typer.Option(help="Layers swapped together. [default: by depth]")] = None,
    max_facts: Annotated[int, typer.Option(help="Forget facts in the sweeps, at most.")] = 100,
    title: Annotated[str, typer.Option(help="Of the page.")] = "What did unlearning do?",
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32,
    task: options.Task = None,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """One page that says what unlearning did.

    It has a verdict, its evidence and its controls.
    Results are kept beside the page, step by step; the same command goes on where it was interrupted, and --from draws
    the page again. The ranks of torchrun share each step. The page needs no network.
    """
    if stored is not None:
        if base is not None or forget is not None:
            raise DissectError(
                "--from draws stored results: leave BASE, UNLEARNED and --forget out, or leave out --from"
            )
        from dissect.report.report import draw

        _said(draw(stored, out, title=title))
        return
    if base is None or unlearned is None or forget is None:
        raise DissectError(
            "a report needs BASE, UNLEARNED and --forget FILE (or --from DIR): see `dissect report --help`"
        )
    outputs.check_file(out, ".html")
    task_of(task)  # before models are loaded
    given = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    read: dict[str, Any] = {name: prompting.facts(path) for name, path in given.items() if path is not None}
    told: dict[str, Any] = {"window": window, "max_facts": max_facts, "batch_size": batch_size, "seed": running.seed}
    told |= {"answers": prompting.answers, "max_new_tokens": prompting.max_new_tokens}
    if prompting.template is not None:
        told["template"] = values.unescaped(prompting.template)
    if option:
        told["options"] = values.measured(option)
    if steps:
        told["steps"] = tuple(values.listed(steps, "--steps"))
    if measures:
        told["measures"] = tuple(values.listed(measures, "--measures"))
    running.start()

    from dissect.models.pair import load_pair
    from dissect.report.report import report as autopsy
    from dissect.report.report import shell
    from dissect.report.settings import ReportSettings

    ReportSettings(**told)  # refused before models are loaded
    pair = load_pair(
        base,
        unlearned,
        retrained=retain_model,
        dtype=running.dtype,
        device=running.device,
        progress=running.progress,
    )
    _said(
        autopsy(
            pair,
            **read,
            out=out,
            folder=folder,
            title=title,
            command=shell(sys.argv[1:]),
            task=task,
            progress=running.progress,
            **told,
        )
    )


def _said(made: Any) -> None:
    if not is_main():
        return
    found = made.verdict
    typer.echo(f"{found.headline}. {found.words}")
    for sign in found.signs:
        typer.echo(f"  {sign.name} ({sign.side}): {sign.words}")
    if found.sure:
        typer.echo(found.sure)
    typer.echo(f"saved {made.path}")
