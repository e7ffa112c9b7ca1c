"""`dissect demo`: run the whole story on the embedded world."""

from pathlib import Path
from typing import Annotated

import typer

from dissect.cli.arguments import options, outputs
from dissect.cli.arguments.say import say


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for checkpoints, sweeps and the page.")] = Path(
        "runs/demo"
    ),
    running: options.RunOptions,
) -> None:
    """Run the whole story on a made-up world.

    Trains a base model on fictitious people, unlearns some of them by gradient ascent, NPO and UnDIAL, compares the
    checkpoints, dissects one of them, and writes the results and an HTML page; the page's path is printed last. Takes
    nine to ten minutes of processor time; models that an earlier demo left in DIR are reused.
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
    say(str(page))
