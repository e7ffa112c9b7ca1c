"""`dissect patch`: an activation sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, sweeping, values

if TYPE_CHECKING:
    from dissect.sweep.sweep_result import SweepResult


def patch(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: Annotated[
        str, typer.Option(metavar="FILE", help="What to ask: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: options.SweepOut,
    components: Annotated[
        str, typer.Option(metavar="A,B,A+B", help="Activation sites, separated by commas; + for together.")
    ] = "mlp_post,attn_out,mlp_post+attn_out",
    positions: Annotated[
        str,
        typer.Option(
            metavar="SPAN|each|-1,0,...",
            help="Tokens at which to swap: all, prompt, answer, predicting, last_prompt, subject; each for every one "
            "apart, or numbers counted from the answer's first token.",
        ),
    ] = "all",
    heads: Annotated[str, typer.Option(metavar="each|0,3+4", help="Single heads, or groups joined by +.")] = "",
    neurons: Annotated[str, typer.Option(metavar="7,9+12", help="Single neurons of mlp_post, or groups.")] = "",
    controls: Annotated[
        str,
        typer.Option(metavar="all|A,B", help="Curves to compare with: identity, shuffled, retrained, random, single."),
    ] = "",
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Put activations of BASE into UNLEARNED.

    Which of them bring the knowledge back? Swaps activations for every component and centre layer, measures the
    recovery of every prompt (1: as the base model, 0: as the unlearned one) and writes a sweep for `dissect plot`.
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
