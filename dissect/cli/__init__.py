"""The command line: one file a command, and one place for what happens when something goes wrong.

A user's mistake is one line on stderr and exit status 2, Ctrl-C is 130; any other exception is a bug and shows its
traceback. Commands import what they need when they run, so that ``dissect --help`` stays quick.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dissect.cli import (
    ask,
    attribute,
    demo,
    evaluate,
    inspect,
    patch,
    plan,
    plot,
    report,
    reproduce,
    restore,
    smallest,
    unlearn,
    verdict,
)
from dissect.cli.arguments.flatten import flattened
from dissect.cli.arguments.say import VisibleFormatter, say
from dissect.distributed import world
from dissect.distribution import own_version, shadowing
from dissect.errors import DissectError, Unfinished

app = typer.Typer(
    name="dissect",
    help="What did unlearning do to a language model? Patch, restore and measure.",
    add_completion=False,
    rich_markup_mode=None,  # plain help: nothing to import, and it reads the same in a log
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for _command in (
    demo.demo,
    inspect.inspect,
    plan.plan,
    unlearn.unlearn,
    patch.patch,
    restore.restore,
    smallest.smallest,
    attribute.attribute,
    ask.ask,
    verdict.verdict,
    evaluate.evaluate,
    plot.plot,
    report.report,
    reproduce.reproduce,
):
    app.command()(flattened(_command))

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
_FORMER_OPTIONS = {"--retain-model": "--retrained", "--interpolate": "--t"}
"""Former name of an option to its present one."""
_USAGE_ERROR: type[Exception] = next(
    kind for kind in reversed(typer.BadParameter.__mro__) if "format_message" in vars(kind)
)
"""The exception that typer raises for a wrong command line: click's, or its own copy of it, by version."""


def _show_version(wanted: bool) -> bool:
    if wanted:
        say(f"dissect {own_version()}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself; what they do is done in their callbacks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        the exit status: 0, also where a task of a job array has done its part; 2 for a user's mistake, 130 after
        Ctrl-C.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("choreographer").setLevel(logging.CRITICAL)  # it logs tracebacks of messages that it skips
    if other := shadowing():
        say(f"warning: {other}", err=True)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = app(words, prog_name="dissect", standalone_mode=False)
        if status == INTERRUPTED:  # newer typers catch Ctrl-C themselves and return this
            raise KeyboardInterrupt
    except Unfinished as so_far:
        say(str(so_far))
        return 0
    except DissectError as error:
        return _failed(str(error))
    except _USAGE_ERROR as error:
        return _failed(_usage(error))
    except OSError as error:  # a full disk, a place that cannot be written to
        return _failed(f"{error.filename or 'writing or reading'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted", err=True)
        return INTERRUPTED
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; not imported here for its sake
            raise
        return _failed("out of memory on the device: try a smaller --batch-size, --dtype bfloat16 or --device cpu")
    return status if isinstance(status, int) else 0


def _failed(message: str) -> int:
    """Print one line, whatever the message holds, and the rank where several processes run together."""
    try:
        here = world()
        rank = f" (rank {here.rank})" if here.size > 1 else ""
    except DissectError:  # that may be what is wrong
        rank = ""
    say(f"error{rank}: {' '.join(message.split())}", err=True)
    return 2


def _usage(error: Exception) -> str:
    """Say what typer says, and where the right way is written down."""
    option = getattr(error, "option_name", None)
    if option in _FORMER_OPTIONS:
        return f"{option} is now called {_FORMER_OPTIONS[option]}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dissect"
    return f"{error.format_message().strip().rstrip('.')}: see `{command} --help`"  # type: ignore[attr-defined]
