"""`dissect demo`: the whole story on the embedded world."""

from pathlib import Path
from typing import Annotated

import typer

from dissect.cli.arguments import options, outputs


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for checkpoints, sweeps and the page.")] = Path(
        "runs/demo"
    ),
    running: options.RunOptions,
) -> None:
    """Learn, forget, compare, dissect, on a made-up world.

    Trains a base model on fictitious people, lets it forget some of them by gradient ascent, NPO and UnDIAL, compares
    the checkpoints, dissects one of them, and writes everything with an HTML page, whose path is printed last. Less
    than four minutes on two cores; models of the world that an earlier demo left in DIR are used again.
    """
    outputs.check_parent(out)
    running.start()
    from dissect.reproductions.demo import run_demo
    from dissect.reproductions.demo_settings import DemoSettings

    page = run_demo(
        out,
        settings=DemoSettings(seed=running.seed),
        device=running.device,
        dtype=running.dtype,
        progress=running.progress,
    )
    typer.echo(str(page))
