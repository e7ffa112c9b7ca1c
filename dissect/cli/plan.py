"""`dissect plan`: what a job needs, before it is run."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, values
from dissect.errors import DissectError
from dissect.unlearning.config.choices import CHOICES

if TYPE_CHECKING:
    from dissect.models.sizes import Sizes
    from dissect.planning.plan import Job, Plan

_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30}


def plan(
    base: options.Base,
    *,
    train: Annotated[
        bool, typer.Option("--train", help="Plan `dissect unlearn`; else a sweep, `dissect patch`.")
    ] = False,
    gpu_memory: Annotated[
        str | None, typer.Option(metavar="80GB", help="Memory of each GPU; without it the job runs on the CPU.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts in a batch; as the command has it by default.")] = None,
    length: Annotated[int, typer.Option(help="Tokens of a text with its answer.")] = 128,
    answer: Annotated[int, typer.Option(help="Tokens of the answer.")] = 32,
    facts: Annotated[int, typer.Option(metavar="N", help="How many facts.")] = 400,
    method: Annotated[str, options.choice("--method", "Objective of training.", *CHOICES["method"])] = "ga",
    epochs: Annotated[int, typer.Option(help="Passes over the facts.")] = 5,
    blocks: Annotated[str, typer.Option(metavar="mlp.W_out,...", help="Train these matrices only.")] = "",
    lora_rank: Annotated[int, typer.Option(help="Train low-rank adapters of this rank instead.")] = 0,
    several: Annotated[
        bool, typer.Option("--several", help="A step has several backward passes: --retain, --accumulate.")
    ] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    bf16_inplace: Annotated[bool, typer.Option("--bf16-inplace", help="Step bfloat16 weights in bfloat16.")] = False,
    reference: Annotated[
        str, options.choice("--reference", "What the reference says, or itself.", *CHOICES["reference"])
    ] = "stored",
    running: options.RunOptions,
) -> None:
    """What a job needs: memory, GPUs, the command.

    From config.json alone: no weights are read, and of a hub id no more than that file is downloaded. With
    --gpu-memory, how many GPUs hold the job and how it is started; docs/scale.md has the arithmetic and how near it is.
    """
    from dissect.planning.plan import Job

    memory = None if gpu_memory is None else n_bytes(gpu_memory)
    job = Job(
        train=train,
        dtype=running.dtype,
        batch_size=(8 if train else 32) if batch_size is None else batch_size,
        length=length,
        answer=answer,
        n_facts=facts,
        gpu=memory is not None or (running.device or "cpu") != "cpu",
        method=method,
        epochs=epochs,
        blocks=values.listed(blocks, "--blocks") if blocks else (),
        lora_rank=lora_rank,
        several=several,
        gradient_checkpointing=gradient_checkpointing,
        bf16_inplace=bf16_inplace,
        reference=reference,
    )
    from dissect.models.files.hub import fetch_config
    from dissect.models.sizes import sizes_of

    typer.echo(described(base, sizes_of(fetch_config(base)), job, memory))


def n_bytes(text: str) -> int:
    """``80GB`` as bytes.

    Raises:
        DissectError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]+)", text.strip().upper())
    if found is None or found[2] not in _UNITS or not float(found[1]):
        raise DissectError(f"--gpu-memory {text!r}: give for example 80GB or 24GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def described(base: str, sizes: "Sizes", job: "Job", memory: int | None) -> str:
    """The table of bytes, and the way to run the job."""
    from dissect.planning.plan import fitting, plan

    found = None if memory is None else fitting(sizes, job, memory)
    ranks = 1 if found is None else found[1]
    chosen = job if found is None else found[0]
    plans = [plan(sizes, chosen, ranks=n) for n in ([1] if ranks == 1 else [1, ranks])]
    heads = ["", "one process"] + [f"each of {ranks}" for _ in plans[1:]]
    return "\n".join(
        [
            f"{base}: {sizes.architecture}, {sizes.n_parameters:,} parameters",
            f"{_what(job)}, {job.dtype}, {min(job.batch_size, job.n_facts)} texts of {job.length} tokens at a time, "
            f"{job.answer} of each scored",
            "",
            _table(heads, plans),
            "",
            *_way(base, chosen, ranks, memory, fits=memory is None or found is not None),
        ]
    )


def _what(job: "Job") -> str:
    if not job.train:
        return "sweep between two checkpoints"
    trained = f"adapters of rank {job.lora_rank}" if job.lora_rank else ", ".join(job.blocks) or "everything"
    return f"unlearning ({job.method}) of {trained}"


def _table(heads: Sequence[str], plans: Sequence["Plan"]) -> str:
    from dissect.cli.arguments.summary import columns
    from dissect.sweep.cache import readable

    names = [name for name in plans[0].held if any(one.held[name] for one in plans)]
    rows = [tuple(heads)] + [(name, *(readable(one.held[name]) for one in plans)) for name in names]
    moments = [max(one.passing, key=one.passing.__getitem__) for one in plans]
    label = f"at most, beside it ({', '.join(dict.fromkeys(moments))})"
    rows.append((label, *(readable(max(one.passing.values())) for one in plans)))
    rows.append(("peak", *(readable(one.peak) for one in plans)))
    return columns(rows)


def _way(base: str, job: "Job", ranks: int, memory: int | None, *, fits: bool) -> list[str]:
    """What to do, and the command."""
    from dissect.planning.plan import USABLE
    from dissect.sweep.cache import readable

    if not fits and memory is not None:
        return [
            f"does not fit into GPUs of {readable(memory)}: try --dtype bfloat16, a smaller --batch-size or --length"
        ]
    said = []
    if memory is not None:
        gpus = f"{ranks} GPU{'s' if ranks > 1 else ''} of {readable(memory)} ({USABLE:.0%} of it used)"
        said.append(f"fits into {gpus}" + (", the model sharded over them" if ranks > 1 else ""))
    return [*said, command(base, job, ranks)]


def command(base: str, job: "Job", ranks: int) -> str:
    """How the job is started; what capitals stand for is to be filled in."""
    start = f"torchrun --nproc-per-node {ranks} -m dissect" if ranks > 1 else "dissect"
    given = {"--dtype": job.dtype if job.dtype != "float32" else "", "--batch-size": str(job.batch_size)}
    flags = {"--shard": ranks > 1, "--sequential": job.sequential}
    if job.train:
        words = ["unlearn", base, "--forget", "FACTS.jsonl", "--out", "DIR", "--method", job.method]
        given |= {"--blocks": ",".join(job.blocks), "--lora-rank": str(job.lora_rank or "")}
        given |= {"--epochs": str(job.epochs), "--reference": "" if job.reference == "stored" else job.reference}
        flags |= {"--gradient-checkpointing": job.gradient_checkpointing, "--bf16-inplace": job.bf16_inplace}
    else:
        words = ["patch", base, "UNLEARNED", "--facts", "FACTS.jsonl", "--out", "SWEEP.nc"]
    words += [word for name, value in given.items() if value for word in (name, value)]
    return " ".join([start, *words, *(name for name, wanted in flags.items() if wanted)])
