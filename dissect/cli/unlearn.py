"""`dissect unlearn`: train a checkpoint to forget."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from dissect.cli import options, outputs
from dissect.unlearning.config import Method, Schedule, TrainConfig

_SETTINGS = TrainConfig()


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
    retain: Annotated[str | None, typer.Option(metavar="FILE", help="What to keep, for methods that use it.")] = None,
    method: Annotated[str, options.choice("--method", "Objective.", *get_args(Method))] = _SETTINGS.method,
    lr: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = _SETTINGS.lr,
    epochs: Annotated[int, typer.Option(help="Passes over the facts.")] = _SETTINGS.epochs,
    batch_size: Annotated[int, typer.Option(help="Facts in one step.")] = _SETTINGS.batch_size,
    schedule: Annotated[
        str, options.choice("--schedule", "Of the learning rate after the warm-up.", *get_args(Schedule))
    ] = _SETTINGS.schedule,
    warmup_steps: Annotated[int, typer.Option(help="Steps of rising learning rate.")] = _SETTINGS.warmup_steps,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW, decoupled.")] = _SETTINGS.weight_decay,
    max_grad_norm: Annotated[float, typer.Option(help="Longest gradient; inf for any.")] = _SETTINGS.max_grad_norm,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a directory that is there.")] = False,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Train MODEL to forget facts.

    Writes a Hugging Face directory, only when the training is over, whole or not at all.
    """
    outputs.check_directory(out, overwrite=overwrite)
    config = TrainConfig(
        method=method,  # type: ignore[arg-type]
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule,  # type: ignore[arg-type]
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        seed=running.seed,
    )
    facts = prompting.facts(forget)
    keep = prompting.facts(retain) if retain is not None else None
    running.start()

    from dissect.models.load import load
    from dissect.unlearning.unlearn import unlearn as train

    loaded = load(model, dtype=running.dtype, device=running.device, progress=running.progress)
    prompts = prompting.prompts(facts, loaded, batch_size=batch_size, progress=running.progress)
    run = train(
        loaded, forget=prompts, retain=keep, out=out, overwrite=overwrite, config=config, progress=running.progress
    )
    first, last = run.records[0]["loss"], run.records[-1]["loss"]
    typer.echo(f"steps {len(run.records)}, facts {len(prompts)}, loss {first:.4g} to {last:.4g}")
    typer.echo(f"saved {run.path}")
