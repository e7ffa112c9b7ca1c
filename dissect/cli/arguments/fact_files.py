"""Files of facts and options of measures, as `evaluate` and `report` take them."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dissect.cli.arguments import values
from dissect.cli.arguments.options import PromptOptions


@dataclass(frozen=True, kw_only=True)
class FactFiles:
    """Files of facts beside those to be forgotten."""

    retain: Annotated[str | None, typer.Option(metavar="FILE", help="Facts to be retained.")] = None
    unrelated: Annotated[
        str | None, typer.Option(metavar="FILE", help="Facts unrelated to the forget and retain facts.")
    ] = None
    texts: Annotated[str | None, typer.Option(metavar="FILE", help="Plain texts, for perplexity.")] = None
    nonmembers: Annotated[
        str | None, typer.Option(metavar="FILE", help="Facts that no model ever saw, for membership inference.")
    ] = None

    def read(self, forget: str | None, prompting: PromptOptions) -> dict[str, Any]:
        """Facts by set, those to be forgotten first.

        Raises:
            DissectError: as ``Facts.read``.
        """
        files = {"forget": forget, **vars(self)}
        return {name: prompting.facts(path) for name, path in files.items() if path is not None}


def measure_options(option: list[str] | None, prompting: PromptOptions) -> dict[str, Any]:
    """Options of measures by name; windows of plain texts are those of the prompts, unless perplexity has its own."""
    windows = {f"perplexity.{name}": getattr(prompting, name) for name in ("max_length", "stride")}
    return {name: value for name, value in windows.items() if value is not None} | values.measured(option)
