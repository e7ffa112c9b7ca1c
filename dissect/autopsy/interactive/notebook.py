"""The picker and the leaderboard in a notebook: one frame that needs nothing but itself."""

from typing import Any

from dissect.autopsy.interactive.leaderboard import leaderboard_data
from dissect.autopsy.interactive.picker_data import picker_data
from dissect.autopsy.interactive.sweep_facts import sweep_data
from dissect.autopsy.picker.embed import document, framed
from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.keywords import keywords
from dissect.sweep.results.sweep_result import SweepResult
from dissect.verdicts.result import Verdicts


class Picker:
    """What `pick` returns: shown by Jupyter and VS Code, and saved as a page."""

    def __init__(self, kind: str, data: Any, title: str) -> None:
        self.kind, self.data, self.title = kind, data, title

    @property
    def html(self) -> str:
        """The whole page."""
        return document(self.kind, self.data, title=self.title)

    def _repr_html_(self) -> str:
        return framed(self.html)

    def __repr__(self) -> str:
        n = len(self.data["facts" if self.kind == "picker" else "rows"])
        what = "facts" if self.kind == "picker" else "checkpoints"
        return f"Picker of {n} {what}: show it in a notebook, or write .html to a file"


@keywords()
def pick(result: Any) -> Picker:
    """Pick single facts or checkpoints out of a result, in a notebook; nothing is computed and nothing is fetched.

    Args:
        result: a `Report` with its facts, a `SweepResult` (its facts and their curves), an `Evaluation` or `Verdicts`
            (their checkpoints, to sort, filter and compare).

    Raises:
        DissectError: another kind of result, or a report whose single facts were not read.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl")[:3].prompts(pair.base)
        >>> dissect.pick(dissect.patch(pair, prompts, ["mlp_post"]))
        Picker of 3 facts: show it in a notebook, or write .html to a file
    """
    if isinstance(result, SweepResult):
        return Picker("picker", sweep_data(result), "Facts of a sweep")
    if isinstance(result, (Evaluation, Verdicts)):
        return Picker("leaderboard", leaderboard_data(result), "Checkpoints")
    stored = getattr(result, "results", None)
    if stored is None:
        raise DissectError(
            f"expected a Report, SweepResult, Evaluation or Verdicts, got {type(result).__name__}: give one of these"
        )
    data = picker_data(stored)
    if data is None:
        reason = stored.missing.get("facts", "it was not computed")
        raise DissectError(f"the report has no single facts ({reason}): run it with the step facts")
    return Picker("picker", data, f"Facts of {result.path.name}")
