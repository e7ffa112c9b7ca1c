"""Composing the page from stored results: no model is run."""

import os
from collections.abc import Sequence
from pathlib import Path

from dissect.autopsy.evidence import evidence
from dissect.autopsy.numbers import numbers
from dissect.autopsy.page import Callout, Drawing, PagePart, Section, page
from dissect.autopsy.results import Results
from dissect.autopsy.sections.answers_section import behaviour
from dissect.autopsy.sections.attacks import attacks
from dissect.autopsy.sections.compared import compared
from dissect.autopsy.sections.curves import curves
from dissect.autopsy.sections.depth import depth
from dissect.autopsy.sections.maps import maps
from dissect.autopsy.sections.method import method
from dissect.autopsy.sections.weight_changes import weights
from dissect.plots.draw_panel import panel
from dissect.verdicts.judged import Verdict

SECTIONS = (behaviour, depth, curves, maps, weights, attacks, compared, method)
"""In the order of the page; each says itself what it lacks."""
_FRAMES = {"erased": "good", "traces left": "warn", "suppressed": "warn", "not forgotten": "bad", "broken": "bad"}
_LIMITS = (
    "A fixed rule derives the verdict from the panel below, which shows how well the model tells each fact's own "
    "answer from those of other subjects, as asked and after attacks that have seen none of these facts. The verdict "
    "holds for these facts and questions. Depth, curves and restoration say where the knowledge is, not whether it is "
    "left."
)
_NO_VERDICT = "No verdict"

_OTHERS = {"retain": "to be retained", "texts": "plain texts", "nonmembers": "that no model saw"}
"""Names of the sets of facts, in words."""


def build(
    results: Results,
    out: str | os.PathLike[str],
    *,
    title: str = "What did unlearning do?",
    lead: str = "",
    extra: Sequence[Section] = (),
) -> tuple[Path, Verdict | None]:
    """Write the page.

    Args:
        lead: words under the title, in place of the usual ones.
        extra: further sections, put before the last, which says how everything was measured.

    Raises:
        DissectError: another suffix than ``.html``.
    """
    measured = evidence(results)
    verdict = verdict_of(results)
    made = [make(results) for make in SECTIONS]
    first = Section("", [*_first(results, verdict, measured.place), *numbers(measured)])
    sections = [first, *made[:-1], *extra, made[-1]]
    return page(title, sections, out, lead=lead or _lead(results), contents=True), verdict


def verdict_of(results: Results) -> Verdict | None:
    """Return the verdict on the unlearned model; None where there is none."""
    return None if results.verdict is None or not len(results.verdict) else results.verdict[0]


def _first(results: Results, verdict: Verdict | None, place: str) -> list[PagePart]:
    """The word with its sentences, and the panel that it rests on."""
    if verdict is None or results.verdict is None:
        reason = results.missing.get("verdict", "it was not computed")
        return [Callout(_NO_VERDICT, [f"The panel of attacks has no result: {reason}.", place], kind="plain")]
    callout = Callout(verdict.headline, [verdict.words, place, _LIMITS], kind=_FRAMES.get(verdict.verdict, "plain"))
    caption = "An attack that was not possible is left out; the stored verdict.json says why."
    return [callout, Drawing(panel(results.verdict), caption)]


def _lead(results: Results) -> str:
    held, n = results.about["identity"]["checkpoints"], results.about["n_facts"]
    names = [Path(held[f"{role}_path"]).name for role in ("base", "unlearned") if f"{role}_path" in held]
    compared = f"{names[0]}, before unlearning, beside {names[1]}, after it: " if len(names) == 2 else ""
    others = ", ".join(f"{count} {_OTHERS.get(name, name)}" for name, count in n.items() if name != "forget")
    return (
        f"{compared}{n.get('forget', 0)} facts to be forgotten{', ' + others if others else ''}. Was the knowledge "
        "erased, or is it just no longer read out, and where was that changed?"
    )
