"""`dissect patch`: an activation sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli import options, sweeping

if TYPE_CHECKING:
    from dissect.sweep.result import SweepResult


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
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Put activations of BASE into UNLEARNED.

    Which of them bring the knowledge back? Swaps activations for every component and centre layer, measures the
    recovery of every prompt (1: as the base model, 0: as the unlearned one) and writes a sweep for `dissect plot`.
    """
    what = {"components": options.listed(components, "--components")}
    sweeping.run(_patch, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _patch() -> "Callable[..., SweepResult]":
    from dissect.patching.patch import patch

    return patch
