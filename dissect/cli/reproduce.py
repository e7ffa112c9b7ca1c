"""`dissect reproduce`: make a figure of the papers, with its table."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dissect.cli.arguments import options, outputs
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError


def reproduce(
    figure: Annotated[
        str | None, typer.Argument(metavar="FIGURE", help="Name of a figure; --list shows them.", show_default=False)
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory for pages, tables and the results behind them.")
    ] = Path("runs/figures"),
    config: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="YAML file that names checkpoints, or the name of a shipped config. [default: the made-up world]",
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show figures and shipped configs, and exit.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Use a smaller world and smaller settings.")] = False,
    task: options.Task = None,
    running: options.RunOptions,
) -> None:
    """Reproduce a figure of the papers, with its table.

    Without --config, the figure is made on the made-up world of dissect demo: its models are trained first, and all
    figures in DIR share them. To continue an interrupted run, give the same command again; the ranks of torchrun share
    the computation. A dtype in the config overrides --dtype.
    """
    if listed:
        _show()
        return
    from dissect.reproductions.making.catalogue import find

    if figure is None:
        raise DissectError("no figure named: `dissect reproduce --list` shows them")
    name = find(figure).name
    outputs.check_parent(out)
    running.start()
    from dissect.autopsy.report import shell
    from dissect.reproductions.making.make_figure import reproduce as make

    made = make(
        name,
        out,
        config,
        quick=quick,
        seed=running.seed,
        device=running.device,
        dtype=running.dtype,
        command=shell(sys.argv[1:]),
        task=task,
        progress=running.progress,
    )
    if not is_main():
        return
    for note in made.notes:
        say(f"note: {note}")
    for file in made.files:
        say(f"saved {file}")


def _show() -> None:
    from dissect.reproductions.making.catalogue import FIGURES
    from dissect.reproductions.making.figure_config import available

    width = max(map(len, FIGURES))
    for figure in FIGURES.values():
        say(f"{figure.name:<{width}}  {figure.about}\n{'':<{width}}  ({figure.source})")
    say(f"configs: {', '.join(available())}")
