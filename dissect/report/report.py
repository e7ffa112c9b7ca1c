"""The autopsy in one call: a pair of checkpoints and facts in, one page out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.evaluation.sets import fact_sets
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.report.compose import build
from dissect.report.evidence import evidence
from dissect.report.gather import gather
from dissect.report.page import Section
from dissect.report.results import Results
from dissect.report.settings import ReportSettings
from dissect.report.verdict import Verdict, verdict


@dataclass(frozen=True)
class Report:
    """What came out."""

    path: Path
    verdict: Verdict
    results: Results


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
    command: str = "",
    lead: str = "",
    extra: Sequence[Section] = (),
    task: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> Report:
    """Say what unlearning did to a model: one self-contained HTML page with a verdict, its evidence and its controls.

    Everything is computed step by step and kept in ``folder``; what stands there is not computed again, so a report
    that was interrupted goes on, and `draw` makes the page again without any model. Under ``torchrun`` the ranks share
    the checkpoints of the evaluation and the cells of the sweeps; smallest set, lens and drift are one rank's each.

    Args:
        pair: from ``dissect.load_pair``; with a ``retrained`` model depth is UDS and relearning has its control.
        forget: what was to be forgotten, with answers.
        retain: what was to be kept; without it the verdict cannot tell forgetting from damage.
        unrelated, texts, nonmembers, sets: further facts, as for ``dissect.evaluate``.
        out: the page, ``.html``; an existing one is replaced.
        folder: where the results are kept; by default ``<out>.results`` beside the page.
        title: of the page.
        command: how to repeat it, as it is to stand on the page.
        lead: words under the title, in place of the usual ones.
        extra: sections of one's own; see ``dissect.report.page``.
        task: ``"3/8"``: the third of eight parts of every step alone, as one task of a job array. The task that comes
            last writes the page.
        settings: fields of ``dissect.report.settings.ReportSettings``: ``window``, ``steps``, ``max_facts``, ...

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
        raise DissectError(f"a report is of a pair, got {type(pair).__name__}: give what dissect.load_pair returns")
    given = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    asked = fact_sets(given | dict(sets or {}))
    page = check_page(out)
    where = Path(folder) if folder is not None else page.with_name(f"{page.name}.results")

    def save(results: Results) -> None:
        build(results, page, title=title, lead=lead, extra=extra)

    results = gather(pair, asked, where, _settings(settings), command=command, task=task, save=save, progress=progress)
    return Report(page, verdict(evidence(results)), results)


def draw(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], *, title: str = "What did unlearning do?"
) -> Report:
    """Make the page of a report again from its stored results; no model is needed.

    Raises:
        DissectError: nothing of a report in the folder.
    """
    results = Results.read(folder)
    path, found = build(results, check_page(out), title=title)
    return Report(path, found, results)


def check_page(out: str | os.PathLike[str]) -> Path:
    """A page can be written there.

    Raises:
        DissectError: another suffix, or a directory.
    """
    path = Path(out)
    if path.suffix.lower() != ".html":
        raise DissectError(f"a report is an HTML page, got {path.name!r}: use a name that ends in .html")
    if path.is_dir():
        raise DissectError(f"{path} is a directory: give the name of a file")
    return path


def _settings(given: Mapping[str, Any]) -> ReportSettings:
    known = {f: None for f in ReportSettings.__dataclass_fields__}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise DissectError(f"no setting {unknown[0]!r} of a report: choose from {', '.join(known)}")
    return ReportSettings(**given)


def shell(arguments: list[str]) -> str:
    """A command line as it can be pasted."""
    return shlex.join(["dissect", *arguments])
