"""From what was measured of all checkpoints to their verdicts."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float

from dissect.attacks.attack import Attack, available
from dissect.data.facts import Facts
from dissect.jobs.journal import JournalRow
from dissect.statistics.bootstrap import mean_interval, of_sums
from dissect.statistics.wilson import edge_interval
from dissect.verdicts.covered import covered
from dissect.verdicts.findings import AS_ASKED, Findings, Panel, findings
from dissect.verdicts.interval import Interval
from dissect.verdicts.judged import AttackRow, Verdict
from dissect.verdicts.lines import ANSWERED, KNOWN
from dissect.verdicts.panel import ANSWERS, NOTE, WEAK, Bench, matrices
from dissect.verdicts.result import Verdicts
from dissect.verdicts.rule import Evidence, word
from dissect.verdicts.words import headline, words

Rows = Mapping[str, JournalRow]
"""Measurements of one checkpoint, by part."""


def assembled(
    bench: Bench,
    rows: Mapping[str, Rows],
    spec: Mapping[str, Any],
    *,
    subject: str,
    base: str,
    retrained: str | None,
) -> Verdicts:
    """Apply the rule to every checkpoint.

    Args:
        bench: what was the same for all.
        rows: by checkpoint and part.
        spec: is kept with the result.
        subject: the key of ``extra`` by which facts are drawn together for intervals.
        base, retrained: the names of these in ``rows``.
    """
    panels = {name: _panel(bench, own) for name, own in rows.items()}
    known = panels[base].items[AS_ASKED]
    redealt = panels[base].redealt(seed=bench.seed)
    choice = Interval(float(np.nanmean(known)), *_choice_ends(bench, known))
    p = float(redealt.p[0])
    control = None if retrained is None else panels[retrained]

    def judge(name: str) -> Verdict:
        own = findings(panels[name], panels[base], None if name == retrained else control, seed=bench.seed)
        before, after = rows[base][ANSWERS], rows[name][ANSWERS]
        evidence = Evidence(
            base_choice=choice,
            base_p=p,
            findings=own,
            said=_said(bench, before, after, subject),
            kept=_kept(bench, before, after, subject),
            perplexity=after["perplexity"] / before["perplexity"] if "perplexity" in after else None,
            covered=covered(bench.tested, bench.retain, panels[name].attacks),
            weak=tuple(attack.label for attack in bench.attacks if WEAK in rows[name].get(attack.name, {})),
        )
        verdict = _verdict(name, evidence, own, bench, given=retrained is not None)
        noted = (replace(row, note=_note(rows[name].get(row.name, {}))) for row in verdict.attacks)
        return replace(verdict, attacks=tuple(noted))

    answers = _mean(rows[base][ANSWERS]["said as asked"])
    return Verdicts(
        base={
            "name": base,
            "path": spec["checkpoints"][base],
            "forced_choice": choice.to_dict(),
            "p": p,
            "answers": answers,
        },
        groups=[asdict(group) for group in bench.tested.groups],
        checkpoints=tuple(judge(name) for name in rows if name not in (base, retrained)),
        retrained=None if retrained is None else judge(retrained),
        tested=bench.tested.rows.tolist(),
        spec={**spec, "left_out": [*bench.tested.notes, *filter(None, [bench.note])]},
    )


def _note(row: JournalRow) -> str:
    return " ".join(str(row[key]) for key in (NOTE, WEAK) if key in row)


def _panel(bench: Bench, rows: Rows) -> Panel:
    attacks = [attack for attack in bench.attacks if attack.name in rows]
    return Panel.of(bench.tested, attacks, {attack.name: matrices(rows[attack.name]) for attack in attacks})


def _verdict(name: str, evidence: Evidence, own: Findings, bench: Bench, *, given: bool) -> Verdict:
    said = word(evidence)
    largest = own.largest
    attacks = []
    for attack in bench.attacks:
        reading = own.reading(attack.name)
        if reading is None:
            attacks.append(_not_made(attack, own.not_possible.get(attack.name, "")))
            continue
        attacks.append(
            AttackRow(
                name=reading.name,
                label=reading.label,
                forced_choice=reading.choice.value,
                low=reading.choice.low,
                high=reading.choice.high,
                z=reading.z,
                p=reading.p,
                p_adjusted=reading.p_adjusted,
                share_left=reading.share,
                items=tuple(None if np.isnan(item) else round(float(item), 4) for item in reading.items),
            )
        )
    return Verdict(
        name=name,
        verdict=said,
        share_left=Interval(nan) if largest is None else largest.share,
        p_adjusted=own.p_adjusted,
        kept=evidence.kept,
        attacks=tuple(attacks),
        headline=headline(said, evidence),
        words=" ".join(filter(None, [words(said, evidence, exact=bench.tested.exact, retrained=given), bench.note])),
        said=evidence.said,
        avoidance=own.avoidance,
        power=own.power,
        facts_enough=own.enough,
        perplexity=evidence.perplexity,
    )


def _not_made(attack: Attack, reason: str) -> AttackRow:
    return AttackRow(
        name=attack.name,
        label=attack.label,
        forced_choice=nan,
        low=nan,
        high=nan,
        z=nan,
        p=nan,
        p_adjusted=nan,
        share_left=Interval(nan),
        not_possible=reason,
    )


def _said(bench: Bench, before: JournalRow, after: JournalRow, subject: str) -> dict[str, Interval]:
    """By wording, answered facts over those that the base model answers."""
    groups = _groups(bench.forget, subject)
    shares = {}
    for key in before:
        if key.startswith("said "):
            share = _ratio_of(after[key], before[key], groups)
            if share is not None:
                shares[key.removeprefix("said ")] = share
    return shares


def _kept(bench: Bench, before: JournalRow, after: JournalRow, subject: str) -> Interval | None:
    """Retain facts still answered; where the base model answers few of them, those still chosen."""
    if "kept" in before and _mean(before["kept"]) >= ANSWERED:
        return _ratio_of(after["kept"], before["kept"], _groups(bench.kept, subject))
    if bench.kept_tested is None:
        return None
    items = [_choices(bench, row) for row in (after, before)]
    if not np.nanmean(items[1]) >= KNOWN:
        return None
    return _ratio_of(items[0] - 0.5, items[1] - 0.5, bench.kept_tested.subjects)


def _choices(bench: Bench, row: JournalRow) -> Float[np.ndarray, " row"]:
    assert bench.kept_tested is not None
    attack = available()["as_asked"]
    return Panel.of(bench.kept_tested, [attack], {attack.name: matrices(row, "kept ")}).items[attack.name]


def _choice_ends(bench: Bench, items: Float[np.ndarray, " row"]) -> tuple[float, float]:
    valid = np.isfinite(items)
    items, subjects = items[valid], bench.tested.subjects[valid]
    return edge_interval(items, groups=subjects) or mean_interval(items, subjects, seed=bench.seed)


def _ratio_of(
    after: Float[np.ndarray, " fact"], before: Float[np.ndarray, " fact"], groups: np.ndarray
) -> Interval | None:
    """Mean over mean, over the facts that both have; None where the base model has none."""
    after, before = np.asarray(after, dtype=float), np.asarray(before, dtype=float)
    both = np.isfinite(after) & np.isfinite(before)
    if not both.any() or not before[both].sum() > 0:
        return None
    after, before, groups = after[both], before[both], groups[both]
    low, high = edge_interval(after, before, groups=groups) or of_sums(
        np.stack([after, before], axis=1), lambda sums: sums[..., 0] / sums[..., 1], groups=groups
    )
    return Interval(float(after.sum() / before.sum()), low, high)


def _groups(facts: Facts, subject: str) -> np.ndarray:
    """The number of each fact's subject; a fact without one is on its own."""
    numbers: dict[str, int] = {}
    names = [str(fact.extra.get(subject) or f"fact {i}") for i, fact in enumerate(facts)]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names])


def _mean(values: Any) -> float:
    values = np.asarray(values, dtype=float)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else nan
