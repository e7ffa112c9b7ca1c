"""`dissect restore`: a parameter sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, sweeping, values
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.sweep.sweep_result import SweepResult


def restore(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: Annotated[
        str, typer.Option(metavar="FILE", help="What to ask: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: options.SweepOut,
    blocks: Annotated[
        str,
        typer.Option(
            metavar="A,B,A+B",
            help="Parameter blocks, such as mlp.W_out, attn, block, unembed; + for together, also with activation "
            "sites (mlp.W_out+mlp_post).",
        ),
    ] = "mlp.W_out",
    scope: Annotated[
        str,
        options.choice(
            "--scope",
            "Layers swapped together: windows, each layer with all after or before it, or everything but the window.",
            "windows",
            "from_last",
            "from_first",
            "all_but",
        ),
    ] = "windows",
    heads: Annotated[str, typer.Option(metavar="each|0,3+4", help="Single heads, or groups joined by +.")] = "",
    neurons: Annotated[
        str, typer.Option(metavar="each|7,9+12", help="Single neurons, or groups: of mlp.W_out, value vectors.")
    ] = "",
    rank: Annotated[str, typer.Option(metavar="1,4,16", help="Only the first singular directions of the change.")] = "",
    interpolate: Annotated[
        str, typer.Option(metavar="0,0.5,1", help="Points t on the way from the recipient (0) to the donor (1).")
    ] = "",
    controls: Annotated[
        str, typer.Option(metavar="all|A,B", help="Curves to compare with: identity, random, noise, retrained.")
    ] = "",
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Put parameters of BASE into UNLEARNED.

    Which of them bring the knowledge back? Swaps parameters for every block and centre layer, measures the recovery
    of every prompt (1: as the base model, 0: as the unlearned one) and writes a sweep for `dissect plot`.
    """
    if scope.startswith("from_") and sweep.window != options.SweepOptions.window:
        raise DissectError(f"--window {sweep.window}: --scope {scope} has no windows, leave one of the two out")
    what = {
        "blocks": values.listed(blocks, "--blocks"),
        "scope": scope,
        "heads": values.parts(heads, "--heads"),
        "neurons": values.parts(neurons, "--neurons"),
        "rank": values.numbered(rank, "--rank"),
        "t": values.decimals(interpolate, "--interpolate") if interpolate else None,
        "controls": True if controls == "all" else values.listed(controls, "--controls") if controls else False,
    }
    sweeping.run(_restore, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _restore() -> "Callable[..., SweepResult]":
    from dissect.restoration.restore import restore

    return restore
