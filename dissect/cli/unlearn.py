"""`dissect unlearn`: train a checkpoint to forget."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, outputs
from dissect.cli.arguments.training_options import TrainingOptions
from dissect.distributed import is_main, world
from dissect.errors import DissectError


def unlearn(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Checkpoint: a directory, a hub id or a LoRA adapter.", show_default=False
        ),
    ],
    *,
    forget: Annotated[
        str, typer.Option(metavar="FILE", help="What to forget: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New directory for the checkpoint.", show_default=False)],
    retain: Annotated[str | None, typer.Option(metavar="FILE", help="What to keep, for a retain loss.")] = None,
    monitor: Annotated[
        str | None, typer.Option(metavar="FILE", help="Texts for --stop-perplexity-ratio; --retain by default.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="UnDIAL, KL: learn from this one instead of from MODEL itself.")
    ] = None,
    save: Annotated[
        str, options.choice("--save", "A whole checkpoint, or the adapters of --lora-rank alone.", "merged", "adapter")
    ] = "merged",
    save_dtype: Annotated[
        str | None, options.choice("--save-dtype", "Of the files.", "float32", "bfloat16", "float16", "float64")
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="Write event files as well.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a directory that is there.")] = False,
    shard: Annotated[bool, typer.Option("--shard", help="Shard the model over the ranks of torchrun.")] = False,
    training: TrainingOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Train MODEL to forget facts.

    Writes a Hugging Face directory, whole or not at all, with the log of the run in unlearning.jsonl. A run that was
    interrupted goes on when the same command is given again, from what stands in DIR.partial; one that is finished is
    not made again.
    """
    from dissect.unlearning.config.train_config import make_config
    from dissect.unlearning.run.run_files import may_be_a_run

    settings = make_config(training.settings(running.seed))
    facts = prompting.facts(forget)
    keep = prompting.facts(retain) if retain is not None else None
    watched = prompting.facts(monitor) if monitor is not None else None
    if world().size > 1 and not shard:
        raise DissectError("several processes train one model only where they share it: add --shard")
    if is_main() and not may_be_a_run(out):
        outputs.check_directory(out, overwrite=overwrite)
    running.start()

    from dissect.models.files.load import load
    from dissect.unlearning.run.tensorboard import TensorBoard
    from dissect.unlearning.unlearn import unlearn as train

    callbacks = [TensorBoard(tensorboard)] if tensorboard is not None and is_main() else []
    how: dict[str, Any] = {"batch_size": settings.batch_size, "progress": running.progress}
    with options.placed(running, shard) as where:
        if shard and running.dtype == "bfloat16" and not settings.bf16_inplace:
            where |= {"dtype": "float32", "compute_dtype": "bfloat16"}  # what is sharded are the masters
        loaded = load(model, progress=running.progress, **where)
        run = train(
            loaded,
            forget=prompting.prompts(facts, loaded, **how),
            retain=None if keep is None else prompting.prompts(keep, loaded, **how),
            monitor=None if watched is None else prompting.prompts(watched, loaded, **how),
            teacher=None if teacher is None else load(teacher, progress=False, **where),
            out=out,
            save=save,
            save_dtype=save_dtype,
            overwrite=overwrite,
            reuse=not overwrite,
            callbacks=callbacks,
            config=settings,
            progress=running.progress,
        )
    if not is_main():
        return
    first, last = run.records[0]["loss"], run.records[-1]
    typer.echo(f"steps {last['step']}, facts {len(facts)}, loss {first:.4g} to {last['loss']:.4g}")
    if "stopped" in last:
        typer.echo(f"stopped early: {last['stopped']}")
    typer.echo(f"saved {run.path}")
