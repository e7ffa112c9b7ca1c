"""`dissect smallest`: the fewest blocks that bring the knowledge back."""

from pathlib import Path
from typing import Annotated

import typer

from dissect.cli.arguments import options, outputs, sweeping, values


def smallest(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: Annotated[
        str, typer.Option(metavar="FILE", help="What to ask: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOUND.json", help="Where to write the set and the way to it.", show_default=False)
    ],
    threshold: Annotated[float, typer.Option(help="Recovery to be reached; 1 is the donor's behaviour.")] = 0.9,
    blocks: Annotated[
        str, typer.Option(metavar="A,B,...", help="Candidates: parameter blocks; by default all there are.")
    ] = "",
    layers: Annotated[str, typer.Option(metavar="0,3,5-8", help="In these layers; all by default.")] = "",
    metric: Annotated[str, typer.Option(help="Whose recovery it is; one that has a gradient.")] = "krs",
    beam: Annotated[int, typer.Option(help="Candidates run exactly in each step.")] = 8,
    max_size: Annotated[int | None, typer.Option(help="Give up at so many blocks.")] = None,
    donor: Annotated[str, options.choice("--donor", "Where the blocks come from.", *options.ROLES)] = "base",
    recipient: Annotated[str, options.choice("--recipient", "The model that runs.", *options.ROLES)] = "unlearned",
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget data.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32,
    sequential: Annotated[bool, typer.Option("--sequential", help="Hold one model in memory at a time.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Find the fewest blocks of BASE that bring UNLEARNED back.

    Adds blocks one by one until the recovery reaches the threshold, every step run exactly, and takes out again what
    turns out not to be needed. With --donor unlearned --recipient base: the fewest unlearned blocks that make the base
    model forget. `dissect plot FOUND.json` draws the way.
    """
    outputs.check_file(out, ".json", overwrite=overwrite)
    sweeping.check_roles(donor, recipient, retrained)
    chosen = values.numbered(layers, "--layers")
    candidates = values.listed(blocks, "--blocks") if blocks else None
    asked = prompting.facts(facts)
    running.start()

    from dissect.models.pair import load_pair
    from dissect.restoration.smallest import smallest_set

    pair = load_pair(
        base,
        unlearned,
        retrained=retrained,
        dtype=running.dtype,
        device=running.device,
        sequential=sequential,
        progress=running.progress,
    )
    if prompting.answers == "base":
        pair.wake(pair.base)  # it is asked what it would say
    prompts = prompting.prompts(asked, pair.base, batch_size=batch_size, progress=running.progress)
    found = smallest_set(
        pair,
        prompts,
        threshold=threshold,
        blocks=candidates,
        layers=chosen,
        donor=donor,
        recipient=recipient,
        metric=metric,
        beam=beam,
        max_size=max_size,
        batch_size=batch_size,
        seed=running.seed,
        progress=running.progress,
    )
    found.save(out)
    typer.echo(repr(found))
    if not found.reached:
        typer.echo(f"not reached: recovery {found.recovery:.3f} is below the threshold {found.threshold:g}")
    if found.random:
        typer.echo(f"as many blocks in random layers: {min(found.random):.3f} to {max(found.random):.3f}")
    typer.echo(f"saved {out}")
