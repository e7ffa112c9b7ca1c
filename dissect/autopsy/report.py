"""The autopsy in one call: a pair of checkpoints and facts in, one page out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dissect.autopsy.compose import build, verdict_of
from dissect.autopsy.gather import gather
from dissect.autopsy.interactive.notebook import pick
from dissect.autopsy.page import Section
from dissect.autopsy.results import Results
from dissect.autopsy.settings import QUICK, ReportSettings
from dissect.autopsy.steps import chosen_steps
from dissect.errors import DissectError, near_miss
from dissect.evaluation.sets import fact_sets
from dissect.keywords import keywords
from dissect.models.origins import check_outputs
from dissect.models.pair import ModelPair
from dissect.verdicts.judged import Verdict
from dissect.verdicts.result import Verdicts


@dataclass(frozen=True)
class Report:
    """A report that was made: its page, its verdict, and the results behind it."""

    path: Path
    verdict: Verdict | None
    """The verdict on the unlearned model; None where the panel has no result."""
    results: Results

    def __repr__(self) -> str:
        word = "no verdict" if self.verdict is None else f"{self.verdict.headline}. {self.verdict.words}"
        missing = ", ".join(self.results.missing)
        return (
            f"Report in {self.path}: {word}\n{f'Not computed: {missing}. ' if missing else ''}Open the page, or pick "
            "facts here with dissect.pick(report); its numbers are in report.results."
        )

    def _repr_html_(self) -> str:
        return pick(self)._repr_html_()


@keywords()
def report(
    pair: Any,
    *,
    forget: Any,
    retain: Any = None,
    unrelated: Any = None,
    texts: Any = None,
    nonmembers: Any = None,
    sets: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] = "report.html",
    folder: str | os.PathLike[str] | None = None,
    title: str = "What did unlearning do?",
    verdict: str | os.PathLike[str] | None = None,
    command: str = "",
    lead: str = "",
    extra: Sequence[Section] = (),
    task: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> Report:
    """Report what unlearning did to a model: one self-contained HTML page with a verdict, its evidence and controls.

    Every step is computed once and its result kept in ``folder``, so an interrupted report continues where it stopped,
    and `draw` makes the page again without any model. Under ``torchrun`` the ranks share the checkpoints of the
    evaluation and the cells of the sweeps; smallest set, lens and drift are computed by one rank each.

    Args:
        pair: from ``dissect.load_pair``; with a ``retrained`` model depth is UDS and relearning has its control.
        forget: facts that were to be forgotten, with answers.
        retain: facts to be retained; without them the verdict cannot tell forgetting from damage.
        unrelated, texts, nonmembers, sets: further facts, as for ``dissect.evaluate``.
        out: the page, ``.html``; an existing one is replaced.
        folder: directory of the results; by default ``<out>.results`` beside the page.
        title: title of the page.
        verdict: ``verdict.json`` of ``dissect.verdict`` on this pair and these facts, taken in place of a second run of
            the panel; by default the file of that name beside the page, where it fits.
        command: command that repeats the report, to be shown on the page.
        lead: words under the title, in place of the usual ones.
        extra: further sections; see ``dissect.autopsy.page``.
        task: ``"3/8"``: the third of eight parts of every step, as one task of a job array. The last task to finish
            writes the page.
        settings: fields of ``dissect.autopsy.settings.ReportSettings``: ``window``, ``steps``, ``max_facts``, ...;
            ``quick=True`` sets those of ``dissect.autopsy.settings.QUICK`` that are not given.

    Returns:
        path of the page, verdict, and results.

    Raises:
        DissectError: no pair or facts, settings that do not exist, a folder of another report.
        Unfinished: this task of a job array has done its part, and others have not.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> quick = {"steps": ["evaluation"], "measures": ["exact_match"]}
        >>> page = dissect.report(pair, forget=forget, out="runs/report.html", **quick)
        >>> page.path.name
        'report.html'
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"expected a pair from dissect.load_pair, got {type(pair).__name__}")
    named = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    checked, page = check_settings(settings), check_page(out)
    where = Path(folder) if folder is not None else page.with_name(f"{page.name}.results")
    check_outputs({"out": page, "folder": where}, {"the pair": pair, **named, "sets": sets, "the verdict": verdict})
    beside = page.with_name("verdict.json") if verdict is None else Path(verdict)
    if verdict is not None:
        Verdicts.load(beside)  # before any work
    facts = fact_sets(named | dict(sets or {}))

    def save(results: Results) -> None:
        build(results, page, title=title, lead=lead, extra=extra)

    results = gather(
        pair,
        facts,
        where,
        checked,
        command=command,
        task=task,
        verdict=beside,
        verdict_named=verdict is not None,
        save=save,
        progress=progress,
    )
    return Report(page, verdict_of(results), results)


def draw(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], *, title: str = "What did unlearning do?"
) -> Report:
    """Make the page of a report again from its stored results; no model is needed.

    Raises:
        DissectError: the folder holds no report.
    """
    check_outputs({"out": out}, {"the folder": folder})
    results = Results.read(folder)
    path, findings = build(results, check_page(out), title=title)
    return Report(path, findings, results)


def check_page(out: str | os.PathLike[str]) -> Path:
    """Return the path, if a page can be written there.

    Raises:
        DissectError: another suffix, or a directory.
    """
    path = Path(out)
    if path.suffix.lower() != ".html":
        raise DissectError(f"the page must end in .html, got {path.name!r}")
    if path.is_dir():
        raise DissectError(f"{path} is a directory: give the name of a file")
    return path


def check_settings(given: Mapping[str, Any]) -> ReportSettings:
    """Check the settings of a report before any model is loaded.

    Raises:
        DissectError: a setting or step that does not exist, or a value outside of its range.
    """
    given = dict(given)
    if given.pop("quick", False):
        given = {**QUICK, **given}
    known = [setting.name for setting in fields(ReportSettings)]
    for name in given:
        if name not in known:
            raise DissectError(
                f"no setting {name!r} of a report{near_miss(name, known)}: choose from {', '.join(known)}"
            )
    settings = ReportSettings(**given)
    chosen_steps(settings.steps)
    return settings


def shell(arguments: list[str]) -> str:
    """Return a command line that can be pasted into a shell."""
    return shlex.join(["dissect", *arguments])
