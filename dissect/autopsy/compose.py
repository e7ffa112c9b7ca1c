"""Composing the page from stored results: no model is run."""

import os
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

from dissect.autopsy.evidence import evidence
from dissect.autopsy.numbers import numbers
from dissect.autopsy.page import Callout, Details, PagePart, Section, page
from dissect.autopsy.results import Results
from dissect.autopsy.sections.answers_section import behaviour
from dissect.autopsy.sections.attack_panel import attack_panel
from dissect.autopsy.sections.attacks import attacks
from dissect.autopsy.sections.compared import compared
from dissect.autopsy.sections.cost import cost
from dissect.autopsy.sections.curves import curves
from dissect.autopsy.sections.depth import depth
from dissect.autopsy.sections.in_short import in_short
from dissect.autopsy.sections.maps import maps
from dissect.autopsy.sections.method import method
from dissect.autopsy.sections.next_steps import next_steps
from dissect.autopsy.sections.single_facts import single_facts
from dissect.autopsy.sections.weight_changes import weights
from dissect.verdicts.interval import percent
from dissect.verdicts.judged import Verdict

FORGOTTEN, GONE, WHERE, COST, HOW = (
    "Did it forget?",
    "Is it really gone?",
    "Where does it sit?",
    "What did it cost?",
    "How was it measured?",
)
QUESTIONS = (
    (FORGOTTEN, (single_facts, behaviour)),
    (GONE, (attacks,)),
    (WHERE, (depth, curves, maps, weights)),
    (COST, (cost,)),
    (HOW, (compared, method)),
)
"""The questions of a reader in order, and the sections that answer each; a section says itself what it lacks."""
_FRAMES = {"erased": "good", "traces left": "warn", "suppressed": "warn", "not forgotten": "bad", "broken": "bad"}
_LIMITS = (
    "A fixed rule derives the verdict from the panel below, which shows how well the model tells each fact's own "
    "answer from those of other subjects, as asked and after attacks that have seen none of these facts. The verdict "
    "holds for these facts and questions. Depth, curves and restoration say where the knowledge is, not whether it is "
    "left."
)
_QUESTION = 120
"""Letters of a question in the lead."""
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
    made = {question: [replace(make(results), question=question) for make in makers] for question, makers in QUESTIONS}
    first = Section("", [*_first(results, verdict, measured.place), *numbers(measured)])
    if (short := in_short(results, measured.place)) is not None:
        made[WHERE].insert(0, replace(short, question=WHERE))
    before = [section for question in (FORGOTTEN, GONE, WHERE, COST) for section in made[question]]
    sections = [first, *before, *extra, *made[HOW], next_steps(results, verdict)]
    return page(title, sections, out, lead=lead or _lead(results), contents=True), verdict


def verdict_of(results: Results) -> Verdict | None:
    """Return the verdict on the unlearned model; None where there is none."""
    return None if results.verdict is None or not len(results.verdict) else results.verdict[0]


def _first(results: Results, verdict: Verdict | None, place: str) -> list[PagePart]:
    """The word with its sentences, and the panel that it rests on."""
    if verdict is None or results.verdict is None:
        reason = results.missing.get("verdict", "it was not computed")
        return [Callout(_NO_VERDICT, [f"The panel of attacks has no result: {reason}.", place], kind="plain")]
    sentence = _sentence(verdict)
    callout = Callout(verdict.headline, [sentence], kind=_FRAMES.get(verdict.verdict, "plain"))
    words = Details("The verdict in full, and what it rests on", [verdict.words, place, _LIMITS])
    return [callout, attack_panel(results.verdict), words]


def _sentence(verdict: Verdict) -> str:
    """What is said, what is left and what was kept, in one sentence."""
    said = max((share.value for share in verdict.said.values()), default=None)
    parts = [] if said is None else [f"answers {percent(said)} of the forget facts that the base model answers"]
    if isfinite(verdict.share_left.value):
        parts.append(f"holds {verdict.share_left} of what it knew about them under the strongest attack")
    if verdict.kept is not None:
        parts.append(f"keeps {verdict.kept} of what was to be retained")
    return (
        f"The unlearned model {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}." if parts else ""
    )


def _example(results: Results) -> str:
    """One of the facts, so that a reader knows what this is about."""
    facts = [] if results.facts is None else results.facts.facts
    question = next((fact["question"] for fact in facts if fact["set"] == "forget"), "")
    short = question if len(question) <= _QUESTION else f"{question[: _QUESTION - 1]}…"
    return f" (such as \N{LEFT DOUBLE QUOTATION MARK}{short}\N{RIGHT DOUBLE QUOTATION MARK})" if short else ""


def _lead(results: Results) -> str:
    held, n = results.about["identity"]["checkpoints"], results.about["n_facts"]
    names = [Path(held[f"{role}_path"]).name for role in ("base", "unlearned") if f"{role}_path" in held]
    compared = f"{names[1]} was made from {names[0]} by unlearning: " if len(names) == 2 else ""
    others = ", ".join(f"{count} {_OTHERS.get(name, name)}" for name, count in n.items() if name != "forget")
    forget = f"{n.get('forget', 0)} facts to be forgotten{_example(results)}"
    return (
        f"{compared}{forget}{', ' + others if others else ''}. Was the knowledge erased, or is it just no longer read "
        "out, and where was that changed?"
    )
