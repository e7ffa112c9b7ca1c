"""Composing the page from stored results: no model is run."""

import os
from collections.abc import Sequence
from pathlib import Path

from dissect.autopsy.evidence import evidence
from dissect.autopsy.numbers import numbers
from dissect.autopsy.page import Callout, Section, page
from dissect.autopsy.results import Results
from dissect.autopsy.sections.answers_section import behaviour
from dissect.autopsy.sections.attacks import attacks
from dissect.autopsy.sections.compared import compared
from dissect.autopsy.sections.curves import curves
from dissect.autopsy.sections.depth import depth
from dissect.autopsy.sections.maps import maps
from dissect.autopsy.sections.method import method
from dissect.autopsy.sections.weight_changes import weights
from dissect.autopsy.verdict import Verdict, verdict

SECTIONS = (behaviour, depth, curves, maps, weights, attacks, compared, method)
"""In the order of the page; each says itself what it lacks."""
_FRAMES = {"erased": "good", "suppressed": "warn", "not forgotten": "bad", "broken": "bad"}
_LIMITS = (
    "The verdict follows from the numbers below by a fixed rule, and holds for these facts and questions. Recovery "
    "from the coefficients of late layers alone proves nothing and does not enter it."
)

_OTHERS = {"retain": "to be retained", "texts": "plain texts", "nonmembers": "that no model saw"}
"""Names of the sets of facts, in words."""


def build(
    results: Results,
    out: str | os.PathLike[str],
    *,
    title: str = "What did unlearning do?",
    lead: str = "",
    extra: Sequence[Section] = (),
) -> tuple[Path, Verdict]:
    """Write the page.

    Args:
        lead: words under the title, in place of the usual ones.
        extra: further sections, put before the last, which says how everything was measured.

    Raises:
        DissectError: another suffix than ``.html``.
    """
    measured = evidence(results)
    found = verdict(measured)
    signs = [f"{sign.name.capitalize()} ({sign.side}): {sign.words}" for sign in found.signs]
    callout = Callout(found.headline, [found.words, found.sure, _LIMITS], signs, kind=_FRAMES.get(found.kind, "plain"))
    made = [make(results) for make in SECTIONS]
    sections = [
        Section("", [callout, *(numbers(measured) if found.kind != "no question" else [])]),
        *made[:-1],
        *extra,
        made[-1],
    ]
    return page(title, sections, out, lead=lead or _lead(results), contents=True), found


def _lead(results: Results) -> str:
    held, n = results.about["identity"]["checkpoints"], results.about["n_facts"]
    names = [Path(held[f"{role}_path"]).name for role in ("base", "unlearned") if f"{role}_path" in held]
    compared = f"{names[0]}, before unlearning, beside {names[1]}, after it: " if len(names) == 2 else ""
    others = ", ".join(f"{count} {_OTHERS.get(name, name)}" for name, count in n.items() if name != "forget")
    return (
        f"{compared}{n.get('forget', 0)} facts to be forgotten{', ' + others if others else ''}. Was the knowledge "
        "erased, or is it just no longer read out, and where was that changed?"
    )
