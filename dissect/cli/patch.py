"""`dissect patch`: an activation sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, sweeping, values

if TYPE_CHECKING:
    from dissect.sweep.results.sweep_result import SweepResult


def patch(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: options.FactsFile,
    out: options.SweepOut,
    components: Annotated[
        str,
        typer.Option(
            metavar="A,B,A+B", help="Activation sites to swap, separated by commas; + joins sites swapped together."
        ),
    ] = "mlp_post,attn_out,mlp_post+attn_out",
    positions: Annotated[
        str,
        typer.Option(
            metavar="SPAN|each|-1,0,...",
            help="Tokens to swap: all, prompt, answer, predicting, last_prompt or subject; each: "
            "every token separately; numbers: offsets from the first answer token (0), so -1 "
            "is the last prompt token.",
        ),
    ] = "all",
    heads: Annotated[
        str, typer.Option(metavar="each|0,3+4", help="Heads to swap separately; + joins heads swapped together.")
    ] = "",
    neurons: Annotated[
        str,
        typer.Option(
            metavar="7,9+12", help="Neurons of mlp_post to swap separately; + joins neurons swapped together."
        ),
    ] = "",
    controls: Annotated[
        str,
        typer.Option(metavar="all|A,B", help="Curves to compare with: identity, shuffled, retrained, random, single."),
    ] = "",
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Swap activations of BASE into UNLEARNED.

    Shows which activations bring the knowledge back: swaps them for every component and centre layer, measures the
    recovery of every prompt (1: behaves like the base model, 0: like the unlearned one) and writes a sweep for
    `dissect plot`.
    """
    what = {
        "components": values.listed(components, "--components"),
        "positions": positions if positions.isidentifier() else values.whole_numbers(positions, "--positions"),
        "heads": values.parts(heads, "--heads"),
        "neurons": values.parts(neurons, "--neurons"),
        "controls": True if controls == "all" else values.listed(controls, "--controls") if controls else False,
    }
    sweeping.run(_patch, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _patch() -> "Callable[..., SweepResult]":
    from dissect.patching.patch import patch

    return patch
