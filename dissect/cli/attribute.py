"""`dissect attribute`: an activation sweep to first order."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import options, sweeping, values
from dissect.distributed import is_main
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.prompts import Prompts
    from dissect.models.pair import ModelPair
    from dissect.sweep.sweep_result import SweepResult


def attribute(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: Annotated[
        str, typer.Option(metavar="FILE", help="What to ask: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: options.SweepOut,
    components: Annotated[
        str, typer.Option(metavar="A,B,A+B", help="Activation sites, separated by commas; + for together.")
    ] = "mlp_post,attn_out",
    per: Annotated[
        str | None, options.choice("--per", "Apart for each of these.", "head", "neuron", "position")
    ] = None,
    ig_steps: Annotated[int, typer.Option(help="Average the gradient over so many points on the way.")] = 0,
    check: Annotated[int, typer.Option(help="Run so many cells exactly and report the rank agreement.")] = 24,
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Estimate an activation sweep, all cells at once.

    To first order, from two forward passes and one backward pass: for a first look, or where there are too many cells
    for the exact sweep. The gradient is that of one metric (--metrics), and windows add up their members. Writes a
    sweep for `dissect plot`.
    """
    what = {
        "components": values.listed(components, "--components"),
        "per": per,
        "ig_steps": ig_steps,
        "check": check,
    }
    sweeping.run(_attribute, what, base, unlearned, facts, out, sweeping=sweep, prompting=prompting, running=running)


def _attribute() -> "Callable[..., SweepResult]":
    from dissect.patching.attribute import attribute as first_order

    def run(
        pair: "ModelPair",
        prompts: "Prompts",
        *,
        scoring: str,
        **arguments: Any,
    ) -> "SweepResult":
        if scoring != "answer":
            raise DissectError("--scoring published: attribution scores the positions of the answer, leave it out")
        result = first_order(pair, prompts, **arguments)
        if result.agreement is not None and is_main():
            typer.echo(f"rank agreement with {result.n_checked} cells run exactly: {result.agreement:.3f}")
        return result

    return run
