"""`dissect attribute`: an activation sweep to first order."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import options, sweeping, values
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.prompts import Prompts
    from dissect.models.pair import ModelPair
    from dissect.sweep.results.sweep_result import SweepResult


def attribute(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: options.FactsFile,
    out: options.SweepOut,
    components: Annotated[
        str,
        typer.Option(
            metavar="A,B,A+B", help="Activation sites to score, separated by commas; A+B is the sum of two sites."
        ),
    ] = "mlp_post,attn_out",
    per: Annotated[
        str | None,
        options.choice("--per", "Score each head, neuron or position separately.", "head", "neuron", "position"),
    ] = None,
    ig_steps: Annotated[
        int, typer.Option(help="Integrated gradients: average the gradient over this many points between the models.")
    ] = 0,
    check: Annotated[
        int, typer.Option(help="Also run this many cells exactly, and report how well the ranks agree.")
    ] = 24,
    sweep: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Estimate an activation sweep from one gradient.

    Estimates every cell to first order, from two forward passes and one backward pass: for a first look, or where an
    exact sweep has too many cells. Takes only one metric (--metrics). The estimate for a window is the sum over its
    layers. Writes a sweep for `dissect plot`.
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
            say(f"rank agreement with {result.n_checked} cells run exactly: {result.agreement:.3f}")
        return result

    return run
