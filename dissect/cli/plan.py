"""`dissect plan`: what a job needs, before it is run."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.attacks.training_budget import BATCH_SIZE, STEPS, TRAINING, TRAININGS
from dissect.cli.arguments import options, values
from dissect.cli.arguments.say import say
from dissect.errors import DissectError
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.methods import METHODS

if TYPE_CHECKING:
    from dissect.models.sizes import Sizes
    from dissect.planning.job import Job
    from dissect.planning.memory_plan import MemoryPlan

RATE = 2e14
"""Operations a second, about a fifth of what an H100 does at best in bfloat16."""
_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30}


def plan(
    base: options.Base,
    *,
    train: Annotated[
        bool, typer.Option("--train", help="Plan a `dissect unlearn` run instead of a `dissect patch` sweep.")
    ] = False,
    verdict: Annotated[
        bool, typer.Option("--verdict", help="Plan a `dissect verdict` run: its attacks that train take most.")
    ] = False,
    gpu_memory: Annotated[
        str | None, typer.Option(metavar="80GB", help="Memory of each GPU; without it the job runs on the CPU.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Texts in one forward pass. [default: that of the planned command]")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens in each text, answer included.")] = 128,
    answer: Annotated[int, typer.Option(help="Tokens in each answer.")] = 32,
    facts: Annotated[int, typer.Option(metavar="N", help="Number of facts.")] = 400,
    method: Annotated[str, options.choice("--method", "Objective of the training.", *METHODS)] = TrainConfig.method,
    epochs: Annotated[int, typer.Option(help="Passes over the facts.")] = TrainConfig.epochs,
    blocks: Annotated[str, typer.Option(metavar="mlp.W_out,...", help="Train only these matrices.")] = "",
    lora_rank: Annotated[
        int, typer.Option(help="Train low-rank adapters of this rank instead; 0 for none.")
    ] = TrainConfig.lora_rank,
    several: Annotated[
        bool,
        typer.Option(
            "--several",
            help="Plan for several backward passes in each step, as with --retain or --accumulate of dissect unlearn.",
        ),
    ] = False,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Recompute activations in the backward pass: less memory, more time."
        ),
    ] = False,
    bf16_inplace: Annotated[
        bool, typer.Option("--bf16-inplace", help="Update bfloat16 weights in bfloat16, without float32 copies.")
    ] = False,
    reference: Annotated[
        str,
        options.choice(
            "--reference", "stored: cache the reference's outputs; live: hold it in memory.", "stored", "live"
        ),
    ] = TrainConfig.reference,
    adapter_base: options.AdapterBase = None,
    running: options.RunOptions,
) -> None:
    """Estimate the memory and GPUs that a job needs.

    Reads only config.json, never the weights; for a hub id, only that file is downloaded. With --gpu-memory, also
    prints how many GPUs the job needs and the command that starts it. docs/scale.md explains the arithmetic and its
    accuracy.
    """
    memory = None if gpu_memory is None else n_bytes(gpu_memory)
    matrices = values.listed(blocks, "--blocks") if blocks else ()
    from dissect.planning.job import Job

    default_batch = BATCH_SIZE if verdict else TrainConfig.batch_size if train else Job.batch_size
    job = Job(
        train=train or verdict,
        panel=verdict,
        dtype=running.dtype,
        batch_size=default_batch if batch_size is None else batch_size,
        length=length,
        answer=answer,
        n_facts=facts,
        gpu=memory is not None or (running.device or "cpu") != "cpu",
        method="learn" if verdict else method,
        epochs=epochs,
        blocks=matrices,
        lora_rank=lora_rank,
        several=several,
        gradient_checkpointing=gradient_checkpointing,
        bf16_inplace=bf16_inplace,
        reference=reference,
    )
    from dissect.models.files.hub import fetch_config
    from dissect.models.sizes import sizes_of

    say(described(base, sizes_of(fetch_config(base, base=adapter_base)), job, memory))


def n_bytes(text: str) -> int:
    """Turn ``80GB`` into a number of bytes.

    Raises:
        DissectError: anything else.
    """
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]+)", text.strip().upper())
    if size is None or size[2] not in _UNITS or not float(size[1]):
        raise DissectError(f"--gpu-memory {text!r}: must be a size, e.g. 80GB or 24GiB")
    return int(float(size[1]) * _UNITS[size[2]])


def described(base: str, sizes: "Sizes", job: "Job", memory: int | None) -> str:
    """Table of the bytes, and the way to run the job."""
    from dissect.planning.plan import fitting, plan

    fit = None if memory is None else fitting(sizes, job, memory)
    if job.panel and fit is not None and fit[1] > 1:  # dissect verdict loads whole models
        fit = None
    planned, ranks = (job, 1) if fit is None else fit
    plans = [plan(sizes, planned, ranks=n) for n in ([1] if ranks == 1 else [1, ranks])]
    heads = ["", "one process"] + [f"each of {ranks}" for _ in plans[1:]]
    return "\n".join(
        [
            f"{base}: {sizes.architecture}, {sizes.n_parameters:,} parameters",
            f"{_title(job)}, {job.dtype}, {min(job.batch_size, job.n_facts)} texts of {job.length} tokens at a time, "
            f"{job.answer} of each scored",
            "",
            _table(heads, plans),
            "",
            *([_work(sizes, planned)] if planned.panel else []),
            *_advice(base, planned, ranks, memory, fits=memory is None or fit is not None),
        ]
    )


def _title(job: "Job") -> str:
    if not job.train:
        return "sweep between two checkpoints"
    trained = f"adapters of rank {job.lora_rank}" if job.lora_rank else ", ".join(job.blocks) or "everything"
    return f"attacks that train {trained}" if job.panel else f"unlearning ({job.method}) of {trained}"


def _table(heads: Sequence[str], plans: Sequence["MemoryPlan"]) -> str:
    from dissect.cli.arguments.aligned import columns
    from dissect.models.accounting import readable

    names = [name for name in plans[0].held if any(plan.held[name] for plan in plans)]
    rows = [tuple(heads)] + [(name, *(readable(plan.held[name]) for plan in plans)) for name in names]
    moments = [max(plan.passing, key=plan.passing.__getitem__) for plan in plans]
    label = f"at most, beside it ({', '.join(dict.fromkeys(moments))})"
    rows.append((label, *(readable(max(plan.passing.values())) for plan in plans)))
    rows.append(("peak", *(readable(plan.peak) for plan in plans)))
    return columns(rows)


def _work(sizes: "Sizes", job: "Job") -> str:
    from dissect.planning.panel_work import panel_work

    work = panel_work(sizes, job, trainings=TRAININGS, steps=STEPS)
    return (
        f"a checkpoint takes about {work.tokens_trained:,} tokens of training and {work.tokens_read:,} of reading: "
        f"{work.operations:.1e} operations, {work.operations / RATE / 60:,.0f} minutes at {RATE:.0e} a second"
    )


def _advice(base: str, job: "Job", ranks: int, memory: int | None, *, fits: bool) -> list[str]:
    """Advice on running the job, and the command."""
    from dissect.models.accounting import readable
    from dissect.planning.plan import USABLE

    if not fits and memory is not None:
        kind, way = "GPUs", "try --dtype bfloat16, a smaller --batch-size or --length"
        if job.panel:
            kind, way = "one GPU", "train adapters instead (--lora-rank 8), or --dtype bfloat16"
        return [f"does not fit into {kind} of {readable(memory)}: {way}"]
    lines = []
    if memory is not None:
        gpus = f"{ranks} GPU{'s' if ranks > 1 else ''} of {readable(memory)} ({USABLE:.0%} of it used)"
        lines.append(f"fits into {gpus}" + (", the model sharded over them" if ranks > 1 else ""))
    return [*lines, command(base, job, ranks)]


def command(base: str, job: "Job", ranks: int) -> str:
    """Command that starts the job; words in capitals are to be filled in."""
    start = f"torchrun --nproc-per-node {ranks} -m dissect" if ranks > 1 else "dissect"
    arguments = {
        "--dtype": job.dtype if job.dtype != "float32" else "",
        "--batch-size": "" if job.panel else str(job.batch_size),  # of its trainings it is fixed
    }
    flags = {"--shard": ranks > 1, "--sequential": job.sequential}
    if job.panel:
        words = ["verdict", base, "UNLEARNED", "--forget", "FACTS.jsonl", "--retain", "RETAIN.jsonl"]
        words += ["--out", "verdict.json"]
        if job.lora_rank:
            words += [word for name in TRAINING for word in ("--option", f"{name}.lora_rank={job.lora_rank}")]
    elif job.train:
        words = ["unlearn", base, "--forget", "FACTS.jsonl", "--out", "DIR", "--method", job.method]
        arguments |= {"--blocks": ",".join(job.blocks), "--lora-rank": str(job.lora_rank or "")}
        arguments |= {
            "--epochs": str(job.epochs),
            "--reference": "" if job.reference == TrainConfig.reference else job.reference,
        }
        flags |= {"--gradient-checkpointing": job.gradient_checkpointing, "--bf16-inplace": job.bf16_inplace}
    else:
        words = ["patch", base, "UNLEARNED", "--facts", "FACTS.jsonl", "--out", "SWEEP.nc"]
    words += [word for name, value in arguments.items() if value for word in (name, value)]
    return " ".join([start, *words, *(name for name, wanted in flags.items() if wanted)])
