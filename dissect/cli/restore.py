"""`dissect restore`: a parameter sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, sweeping, values
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.sweep.results.sweep_result import SweepResult


def restore(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: options.FactsFile,
    out: options.SweepOut,
    blocks: Annotated[
        str,
        typer.Option(
            metavar="A,B,A+B",
            help="Parameter blocks to swap, such as mlp.W_out, attn, block or unembed; + joins blocks, or blocks and "
            "activation sites, swapped together (mlp.W_out+mlp_post).",
        ),
    ] = "mlp.W_out",
    scope: Annotated[
        str,
        options.choice(
            "--scope",
            "Layers swapped together: windows; from_last, a layer and all after it; "
            "from_first, a layer and all before it; all_but, all layers outside the window.",
            "windows",
            "from_last",
            "from_first",
            "all_but",
        ),
    ] = "windows",
    heads: Annotated[
        str, typer.Option(metavar="each|0,3+4", help="Heads to swap separately; + joins heads swapped together.")
    ] = "",
    neurons: Annotated[
        str,
        typer.Option(
            metavar="each|7,9+12",
            help="Neurons to swap separately (for mlp.W_out, value vectors); + joins neurons swapped together.",
        ),
    ] = "",
    rank: Annotated[
        str, typer.Option(metavar="1,4,16", help="Swap only this many singular directions of the change.")
    ] = "",
    t: Annotated[
        str, typer.Option(metavar="0,0.5,1", help="Interpolate the weights between recipient (0) and donor (1).")
    ] = "",
    controls: Annotated[
        str, typer.Option(metavar="all|A,B", help="Curves to compare with: identity, random, noise, retrained.")
    ] = "",
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Swap parameters of BASE into UNLEARNED.

    Shows which parameters bring the knowledge back: swaps them for every block and centre layer, measures the recovery
    of every prompt (1: behaves like the base model, 0: like the unlearned one) and writes a sweep for `dissect plot`.
    """
    if scope.startswith("from_") and sweep.window != options.SweepOptions.window:
        raise DissectError(f"--window {sweep.window}: --scope {scope} has no windows, leave one of the two out")
    what = {
        "blocks": values.listed(blocks, "--blocks"),
        "scope": scope,
        "heads": values.parts(heads, "--heads"),
        "neurons": values.parts(neurons, "--neurons"),
        "rank": values.numbered(rank, "--rank"),
        "t": values.decimals(t, "--t") if t else None,
        "controls": True if controls == "all" else values.listed(controls, "--controls") if controls else False,
    }
    sweeping.run(_restore, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _restore() -> "Callable[..., SweepResult]":
    from dissect.restoration.restore import restore

    return restore
