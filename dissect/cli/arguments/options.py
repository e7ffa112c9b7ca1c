"""Arguments and options that commands share, with their checks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import values
from dissect.distributed import is_main
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.facts import Facts
    from dissect.data.prompts import Prompts

_CHECKPOINT = "a directory, a hub id or a LoRA adapter"


def one_of(*allowed: str) -> Callable[[str | None], str | None]:
    """A callback that refuses other values."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in allowed:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}")
        return value

    return check


def choice(names: str, help: str, *allowed: str) -> Any:
    """An option with a few allowed values."""
    return typer.Option(names, help=help, metavar="|".join(allowed), callback=one_of(*allowed))


Base = Annotated[
    str, typer.Argument(metavar="BASE", help=f"Checkpoint before unlearning: {_CHECKPOINT}.", show_default=False)
]
Unlearned = Annotated[
    str, typer.Argument(metavar="UNLEARNED", help=f"Checkpoint after it: {_CHECKPOINT}.", show_default=False)
]
SweepOut = Annotated[
    Path, typer.Option("--out", metavar="SWEEP.nc", help="Where to write the sweep (netCDF).", show_default=False)
]
ROLES = ("base", "unlearned", "retrained")

Task = Annotated[
    str | None,
    typer.Option("--task", metavar="I/N", help="Do the i-th of n parts only, for job arrays; see docs/scale.md."),
]


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What every sweep takes."""

    window: Annotated[int, typer.Option(help="Layers swapped together around each centre; an odd number.")] = 5
    layers: Annotated[str, typer.Option(metavar="0,3,5-8", help="Centre layers; all by default.")] = ""
    metrics: Annotated[str, typer.Option(metavar="krs,kl,...", help="What to measure, separated by commas.")] = "krs"
    donor: Annotated[str, choice("--donor", "Where the swapped parts come from.", *ROLES)] = "base"
    recipient: Annotated[str, choice("--recipient", "The model that runs.", *ROLES)] = "unlearned"
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget data.")
    ] = None
    scoring: Annotated[
        str,
        choice(
            "--scoring",
            "Positions compared: those that predict the answer, or the papers' window.",
            "answer",
            "published",
        ),
    ] = "answer"
    quantise: Annotated[
        str | None,
        choice("--quantise", "Round the matrices of all models to 8 or 4 bits first.", "int8", "int4", "nf4"),
    ] = None
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32
    sequential: Annotated[bool, typer.Option("--sequential", help="Hold one model in memory at a time.")] = False
    shard: Annotated[bool, typer.Option("--shard", help="Shard the models over the ranks of torchrun.")] = False
    task: Task = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sweep that is there.")] = False


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How facts become prompts."""

    template: Annotated[
        str | None,
        typer.Option(
            help=r"For questions, with {question}; \n is a line break. [default: Question: {question}\nAnswer:]",
            show_default=False,
        ),
    ] = None
    answers: Annotated[
        str, choice("--answers", "The answers of the facts, or the model's own greedy ones.", "gold", "base")
    ] = "gold"
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer of the model's own, in tokens.")] = 30
    concept: Annotated[
        str | None, typer.Option(metavar="ID|NAME", help="One concept of a ConceptVectors file; all by default.")
    ] = None
    part: Annotated[
        str | None,
        choice("--part", "Texts of a ConceptVectors file.", "QA", "text_completion", "unrelated_QA", "wikipedia"),
    ] = None
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Split of a saved dataset that has several.")] = None

    def facts(self, path: str) -> "Facts":
        """Read facts as asked.

        Raises:
            DissectError: as ``Facts.read``.
        """
        from dissect.data.facts import Facts

        if self.concept is None and self.part is None:
            return Facts.read(path, split=self.split)
        if self.split is not None:
            raise DissectError(
                "--split is for saved datasets, --concept and --part for ConceptVectors files: give either"
            )
        return Facts.from_conceptvectors(path, concept=self.concept, part=self.part or "QA")  # type: ignore[arg-type]

    def prompts(self, facts: "Facts", model: Any, *, batch_size: int, progress: bool) -> "Prompts":
        """Tokenise facts for a model, which also answers them if it is asked to.

        Raises:
            DissectError: as ``Facts.prompts``.
        """
        from dissect.data.render import DEFAULT_TEMPLATE

        return facts.prompts(
            model,
            template=DEFAULT_TEMPLATE if self.template is None else values.unescaped(self.template),
            answers=self.answers,  # type: ignore[arg-type]
            max_new_tokens=self.max_new_tokens,
            batch_size=batch_size,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a command computes."""

    seed: Annotated[int, typer.Option(help="Of everything drawn at random.", min=0)] = 0
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda|cuda:1|mps", help="The GPU if there is one, by default.")
    ] = None
    dtype: Annotated[
        str, choice("--dtype", "Number format of the models.", "float32", "bfloat16", "float16", "float64", "auto")
    ] = "float32"
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False

    @property
    def progress(self) -> bool:
        """Whether to show bars: of several ranks only the first does."""
        return not self.quiet and is_main()

    def start(self) -> None:
        """Seed, and refuse a device that is not there.

        Raises:
            DissectError: no such device here.
        """
        import torch

        if self.device is not None:
            try:
                torch.empty(0, device=self.device)
            except (RuntimeError, AssertionError, NotImplementedError) as error:
                why = str(error).splitlines()[0]
                raise DissectError(f"--device {self.device} cannot be used here ({why}): try --device cpu") from error
        torch.manual_seed(self.seed)


@contextmanager
def placed(running: RunOptions, shard: bool) -> Iterator[dict[str, Any]]:
    """In the body, arguments of ``load`` that put a model where it is to be: whole, or sharded over the ranks.

    Raises:
        DissectError: nothing to shard over, or the other ranks cannot be reached.
    """
    if not shard:
        yield {"dtype": running.dtype, "device": running.device}
        return
    from dissect.distributed import mesh, started, world

    if world().size == 1:
        raise DissectError("--shard needs several processes: torchrun --nproc-per-node N -m dissect ...")
    with started(device=running.device):
        yield {"dtype": running.dtype, "mesh": mesh(device=running.device)}
