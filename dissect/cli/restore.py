"""`dissect restore`: a parameter sweep."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli import options, sweeping

if TYPE_CHECKING:
    from dissect.sweep.result import SweepResult


def restore(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: Annotated[
        str, typer.Option(metavar="FILE", help="What to ask: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: options.SweepOut,
    blocks: Annotated[
        str, typer.Option(metavar="A,B,...", help="Parameter blocks of a layer, such as mlp.W_out, attn, block.")
    ] = "mlp.W_out",
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Put parameters of BASE into UNLEARNED.

    Which of them bring the knowledge back? Swaps parameters for every block and centre layer, measures the recovery
    of every prompt (1: as the base model, 0: as the unlearned one) and writes a sweep for `dissect plot`.
    """
    what = {"blocks": options.listed(blocks, "--blocks")}
    sweeping.run(_restore, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _restore() -> "Callable[..., SweepResult]":
    from dissect.restoration.restore import restore

    return restore
