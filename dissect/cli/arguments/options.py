"""Arguments and options that commands share, with their checks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import values
from dissect.cli.arguments.chat_options import ChatOptions
from dissect.distributed import is_main
from dissect.errors import DissectError

if TYPE_CHECKING:
    from dissect.data.facts import Facts
    from dissect.data.prompts import Prompts

_CHECKPOINT = "a directory, a hub id or a LoRA adapter"


def one_of(*allowed: str) -> Callable[[str | None], str | None]:
    """A callback that refuses other values."""

    def check(value: str | None) -> str | None:
        if value == "retain" and "retrained" in allowed:
            raise typer.BadParameter("'retain' is now called 'retrained'")
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
    str, typer.Argument(metavar="UNLEARNED", help=f"Checkpoint after unlearning: {_CHECKPOINT}.", show_default=False)
]
SweepOut = Annotated[
    Path, typer.Option("--out", metavar="SWEEP.nc", help="Write the sweep to this netCDF file.", show_default=False)
]
FactsFile = Annotated[
    str,
    typer.Option("--facts", metavar="FILE", help="Facts to ask about: JSONL, CSV, Parquet, ...", show_default=False),
]
ROLES = ("base", "unlearned", "retrained")

AdapterBase = Annotated[
    str | None,
    typer.Option(
        "--adapter-base",
        metavar="DIR",
        help="Base model for LoRA adapters, instead of the one that their config names.",
        show_default=False,
    ),
]
AllowExtraRows = Annotated[
    bool,
    typer.Option(
        "--allow-extra-rows",
        help="Allow embedding matrices of different sizes: compare only the rows that all models have.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="I/N", help="Compute only part I of N, as one task of a job array; see docs/scale.md."
    ),
]


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of every sweep."""

    window: Annotated[int, typer.Option(help="Odd number of layers swapped together around each centre.")] = 5
    layers: Annotated[str, typer.Option(metavar="0,3,5-8", help="Centre layers. [default: all]")] = ""
    metrics: Annotated[str, typer.Option(metavar="krs,kl,...", help="Metrics to compute, separated by commas.")] = "krs"
    donor: Annotated[str, choice("--donor", "Model that the swapped parts come from.", *ROLES)] = "base"
    recipient: Annotated[str, choice("--recipient", "Model that the swapped parts are put into.", *ROLES)] = "unlearned"
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Retrained model: a checkpoint trained without the forget data.")
    ] = None
    adapter_base: AdapterBase = None
    allow_extra_rows: AllowExtraRows = False
    scoring: Annotated[
        str,
        choice(
            "--scoring",
            "Positions to score: answer, those that predict the answer; published, the window"
            " of the paper's notebooks.",
            "answer",
            "published",
        ),
    ] = "answer"
    quantise: Annotated[
        str | None,
        choice("--quantise", "First round the matrices of all models to 8 or 4 bits.", "int8", "int4", "nf4"),
    ] = None
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 32
    sequential: Annotated[bool, typer.Option("--sequential", help="Hold only one model in memory at a time.")] = False
    shard: Annotated[bool, typer.Option("--shard", help="Shard the models over the ranks of torchrun.")] = False
    task: Task = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False


@dataclass(frozen=True, kw_only=True)
class PromptOptions(ChatOptions):
    """Options that turn facts into prompts."""

    template: Annotated[
        str | None,
        typer.Option(
            help=r"Template for questions, with {question}; \n is a line break. "
            r"[default: Question: {question}\nAnswer:, in a chat {question}]",
            show_default=False,
        ),
    ] = None
    answers: Annotated[
        str,
        choice(
            "--answers",
            "Answers to score: gold, those of the facts; base, the base model's own greedy answers.",
            "gold",
            "base",
        ),
    ] = "gold"
    max_new_tokens: Annotated[int, typer.Option(help="Length limit of the base model's own answers, in tokens.")] = 30
    max_length: Annotated[int | None, typer.Option(help="Cut plain texts into windows of this many tokens.", min=2)] = (
        None
    )
    stride: Annotated[
        int | None,
        typer.Option(help="Tokens from one window to the next. [default: --max-length]", min=1, show_default=False),
    ] = None
    concept: Annotated[
        str | None, typer.Option(metavar="ID|NAME", help="Concept of a ConceptVectors file. [default: all]")
    ] = None
    part: Annotated[
        str | None,
        choice(
            "--part", "Kind of texts in a ConceptVectors file.", "QA", "text_completion", "unrelated_QA", "wikipedia"
        ),
    ] = None
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of a saved dataset or benchmark, where it has several.")
    ] = None

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

    @property
    def wording(self) -> str:
        """The template of questions."""
        from dissect.data.render import DEFAULT_TEMPLATE

        return DEFAULT_TEMPLATE if self.template is None else values.unescaped(self.template)

    def prompts(self, facts: "Facts", model: Any, *, batch_size: int, progress: bool, **changes: Any) -> "Prompts":
        """Tokenise facts for a model, which also answers them if it is asked to.

        Args:
            changes: arguments of ``Facts.prompts`` in place of those of the options.

        Raises:
            DissectError: as ``Facts.prompts``.
        """
        options: dict[str, Any] = {"chat": self.chat_choice(), "max_length": self.max_length, "stride": self.stride}
        return facts.prompts(
            model,
            template=self.wording,
            answers=self.answers,  # type: ignore[arg-type]
            max_new_tokens=self.max_new_tokens,
            batch_size=batch_size,
            progress=progress,
            **(options | changes),
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of where and how a command computes."""

    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0
    device: Annotated[
        str | None,
        typer.Option(metavar="cpu|cuda|cuda:1|mps", help="Device to compute on. [default: a GPU if there is one]"),
    ] = None
    dtype: Annotated[
        str, choice("--dtype", "Data type of the models' weights.", "float32", "bfloat16", "float16", "float64", "auto")
    ] = "float32"
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars.")] = False

    @property
    def progress(self) -> bool:
        """True if bars are shown: of several ranks only the first does."""
        return not self.quiet and is_main()

    def start(self) -> None:
        """Refuse a device that is not there.

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
