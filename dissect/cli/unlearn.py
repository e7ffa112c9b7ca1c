"""`dissect unlearn`: train a checkpoint to forget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import options, outputs
from dissect.cli.arguments.say import say
from dissect.cli.arguments.training_options import TrainingOptions
from dissect.distributed import is_main, world
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.facts import Facts
    from dissect.data.prompts import Prompts


def unlearn(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Checkpoint: a directory, a hub id or a LoRA adapter.", show_default=False
        ),
    ],
    *,
    forget: Annotated[
        str, typer.Option(metavar="FILE", help="Facts to forget: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New directory for the checkpoint.", show_default=False)],
    retain: Annotated[str | None, typer.Option(metavar="FILE", help="Facts to retain, for a retain loss.")] = None,
    monitor: Annotated[
        str | None, typer.Option(metavar="FILE", help="Texts for --stop-perplexity-ratio. [default: those of --retain]")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Reference model, for methods that compare with one. [default: MODEL]"),
    ] = None,
    save: Annotated[
        str,
        options.choice("--save", "Save a whole checkpoint, or only the adapters of --lora-rank.", "merged", "adapter"),
    ] = "merged",
    save_dtype: Annotated[
        str | None,
        options.choice(
            "--save-dtype",
            "Data type of the saved weights. [default: the precision of training]",
            "float32",
            "bfloat16",
            "float16",
            "float64",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard event files to this directory as well.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing checkpoint.")] = False,
    shard: Annotated[bool, typer.Option("--shard", help="Shard the model over the ranks of torchrun.")] = False,
    training: TrainingOptions,
    prompting: options.PromptOptions,
    adapter_base: options.AdapterBase = None,
    running: options.RunOptions,
) -> None:
    """Train MODEL to forget facts.

    Writes a Hugging Face directory, with the log in unlearning.jsonl; it appears only once it is complete. To continue
    an interrupted run, give the same command again; its saved states are in DIR.partial. A finished run is not
    repeated.
    """
    from dissect.unlearning.config.train_config import make_config
    from dissect.unlearning.run.run_files import may_be_a_run

    chat = prompting.chat_choice()
    shared = {"chat": chat, "max_length": prompting.max_length, "stride": prompting.stride}
    shared = {name: value for name, value in shared.items() if value is not None}
    config = make_config(training.settings(running.seed) | shared)
    forget_facts = prompting.facts(forget)
    retain_facts = prompting.facts(retain) if retain is not None else None
    monitor_facts = prompting.facts(monitor) if monitor is not None else None
    if world().size > 1 and not shard:
        raise DissectError(f"{world().size} processes can only train one model together: add --shard")
    if is_main() and not may_be_a_run(out):
        outputs.check_directory(out, overwrite=overwrite)
    running.start()

    from dissect.models.adapter_base import adapter_base_of
    from dissect.models.files.load import load
    from dissect.unlearning.run.tensorboard import TensorBoard
    from dissect.unlearning.unlearn import unlearn as train

    callbacks = [TensorBoard(tensorboard)] if tensorboard is not None and is_main() else []
    tokenising: dict[str, Any] = {"batch_size": config.batch_size, "progress": running.progress}
    with options.placed(running, shard) as loading:
        if shard and running.dtype == "bfloat16" and not config.bf16_inplace:
            loading |= {"dtype": "float32", "compute_dtype": "bfloat16"}  # the masters are what is sharded
        loaded = load(model, base=adapter_base_of(model, given=adapter_base), progress=running.progress, **loading)
        tokenising |= {"chat": chat if config.chat is None else config.chat, "stride": config.stride}
        tokenising["max_length"] = config.max_length or loaded.cfg.n_ctx

        def prompts(facts: "Facts | None") -> "Prompts | None":
            return None if facts is None else prompting.prompts(facts, loaded, **tokenising)

        run = train(
            loaded,
            forget=prompting.prompts(forget_facts, loaded, **tokenising),
            retain=prompts(retain_facts),
            monitor=prompts(monitor_facts),
            teacher=None
            if teacher is None
            else load(teacher, base=adapter_base_of(teacher, given=adapter_base), progress=False, **loading),
            out=out,
            save=save,
            save_dtype=save_dtype,
            overwrite=overwrite,
            reuse=not overwrite,
            callbacks=callbacks,
            config=config,
            progress=running.progress,
        )
    if not is_main():
        return
    first, last = run.records[0]["loss"], run.records[-1]
    say(f"steps {last['step']}, facts {len(forget_facts)}, loss {first:.4g} to {last['loss']:.4g}")
    if run.checks:
        say(run.checks[-1].since(run.checks[0]))
    if "stopped" in last:
        say(f"stopped early: {last['stopped']}")
    say(f"saved {run.path}")
