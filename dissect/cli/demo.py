"""`dissect demo`: the whole story on the embedded world."""

from pathlib import Path
from typing import Annotated

import typer

from dissect.cli import options, outputs


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for checkpoints, sweeps and the page.")] = Path(
        "runs/demo"
    ),
    running: options.RunOptions,
) -> None:
    """Learn, forget, patch, restore, report, on a made-up world.

    Trains a base model on fictitious people, lets it forget some of them by gradient ascent, compares the two
    checkpoints, and writes them, the facts, the sweeps and an HTML page. The page's path is printed last. About two
    minutes on two cores; a base model that an earlier demo left in DIR is used again.
    """
    outputs.check_parent(out)
    running.start()
    from dissect.reproductions.demo import DemoSettings, run_demo

    page = run_demo(
        out,
        settings=DemoSettings(seed=running.seed),
        device=running.device,
        dtype=running.dtype,
        progress=running.progress,
    )
    typer.echo(str(page))
