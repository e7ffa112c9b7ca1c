"""`dissect smallest`: the fewest blocks that bring the knowledge back."""

from pathlib import Path
from typing import Annotated

import typer

from dissect.cli.arguments import options, outputs, sweeping, values
from dissect.cli.arguments.say import say


def smallest(
    base: options.Base,
    unlearned: options.Unlearned,
    *,
    facts: options.FactsFile,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOUND.json", help="Write the set, and the steps that led to it, to this file.", show_default=False
        ),
    ],
    threshold: Annotated[float, typer.Option(help="Recovery to reach; 1 is the donor's behaviour.")] = 0.9,
    blocks: Annotated[str, typer.Option(metavar="A,B,...", help="Candidate parameter blocks. [default: all]")] = "",
    layers: Annotated[str, typer.Option(metavar="0,3,5-8", help="Layers of the candidates. [default: all]")] = "",
    metric: Annotated[str, typer.Option(help="Metric whose recovery counts; it must have a gradient.")] = "krs",
    beam: Annotated[int, typer.Option(help="Number of candidates run exactly in each step.")] = 8,
    max_size: Annotated[int | None, typer.Option(help="Stop at this many blocks. [default: no limit]")] = None,
    donor: Annotated[str, options.choice("--donor", "Model that the blocks come from.", *options.ROLES)] = "base",
    recipient: Annotated[
        str, options.choice("--recipient", "Model that the blocks are put into.", *options.ROLES)
    ] = "unlearned",
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Retrained model: a checkpoint trained without the forget data.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32,
    sequential: Annotated[bool, typer.Option("--sequential", help="Hold only one model in memory at a time.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    prompting: options.PromptOptions,
    adapter_base: options.AdapterBase = None,
    allow_extra_rows: options.AllowExtraRows = False,
    running: options.RunOptions,
) -> None:
    """Find a small set of blocks of BASE that restores UNLEARNED.

    Adds blocks one by one until the recovery reaches the threshold, then removes those that turn out not to be needed.
    In each step, the best --beam candidates are run exactly. With --donor unlearned --recipient base, finds a
    small set of unlearned blocks that makes the base model forget. `dissect plot FOUND.json` draws the steps.
    """
    outputs.check_file(out, ".json", overwrite=overwrite)
    sweeping.check_roles(donor, recipient, retrained)
    if "retrained" not in (donor, recipient):
        sweeping.check_twice(base, unlearned)
    candidate_layers = values.numbered(layers, "--layers")
    candidates = values.listed(blocks, "--blocks") if blocks else None
    read = prompting.facts(facts)
    running.start()

    from dissect.models.pair import load_pair
    from dissect.restoration.smallest import smallest_set

    pair = load_pair(
        base,
        unlearned,
        retrained=retrained,
        adapter_base=adapter_base,
        allow_extra_rows=allow_extra_rows,
        dtype=running.dtype,
        device=running.device,
        sequential=sequential,
        progress=running.progress,
    )
    if prompting.answers == "base":
        pair.wake(pair.base)  # it is asked what it would say
    prompts = prompting.prompts(read, pair.base, batch_size=batch_size, progress=running.progress)
    fewest = smallest_set(
        pair,
        prompts,
        threshold=threshold,
        blocks=candidates,
        layers=candidate_layers,
        donor=donor,
        recipient=recipient,
        metric=metric,
        beam=beam,
        max_size=max_size,
        batch_size=batch_size,
        seed=running.seed,
        progress=running.progress,
    )
    fewest.save(out)
    say(repr(fewest))
    if not fewest.reached:
        say(f"not reached: recovery {fewest.recovery:.3f} is below the threshold {fewest.threshold:g}")
    if fewest.random:
        say(f"recovery of as many blocks in random layers: {min(fewest.random):.3f} to {max(fewest.random):.3f}")
    say(f"saved {out}")
