"""What the page of the picker is given: the stored numbers of each fact, joined by its number."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from dissect.autopsy.picker.fact_table import FactTable
from dissect.autopsy.results import Results
from dissect.autopsy.step_inputs import evenly
from dissect.plots.labels import component as label
from dissect.plots.labels import split_control
from dissect.sweep.results.sweep_result import SweepResult
from dissect.verdicts.judged import AttackRow, Verdict

CHANCE = 0.5


def picker_data(results: Results) -> dict[str, Any] | None:
    """Return the data of the picker; None where the single facts were not read."""
    table = results.facts
    if table is None:
        return None
    curves = _curves(results)
    attack, choices = _attacks(results)
    facts = [_fact(entry, curves, choices, attack, table) for entry in table.facts]
    shown = {name: sum(fact["set"] == name for fact in facts) for name in table.n_facts}
    thinned = [f"{shown[name]} of {n} {name} facts" for name, n in table.n_facts.items() if shown[name] < n]
    return {
        "models": table.models,
        "lensModels": table.lens_models,
        "vocabulary": table.vocabulary,
        "attacks": [row.label for row in choices],
        "attack": attack.label if attack is not None else "",
        "curves": {name: curve["x"] for name, curve in curves.items()},
        "thinned": f"Shown here: {' and '.join(thinned)}, spread evenly." if thinned else "",
        "facts": facts,
    }


def _fact(
    entry: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    choices: list["_Choice"],
    attack: AttackRow | None,
    table: FactTable,
) -> dict[str, Any]:
    forgotten = entry["set"] == "forget"
    number = entry["number"]
    by_attack = [choice.items.get(number) for choice in choices] if forgotten else []
    left, under = None, next((c.items.get(number) for c in choices if attack and c.label == attack.label), None)
    if forgotten and under is not None and entry["choice"]:
        known = own_wins(entry["choice"]["scores"][table.models.index("base")])
        left = round((under - CHANCE) / (known - CHANCE), 4) if known > CHANCE else None
    curve = {name: c["y"][number] for name, c in curves.items() if forgotten and number in c["y"]}
    return {**entry, "left": left, "attacks": by_attack, "curve": curve}


def own_wins(scores: list[float]) -> float:
    """Share of the comparisons that the first score wins; a tie is half of one."""
    own, others = scores[0], scores[1:]
    return sum((own > other) + 0.5 * (own == other) for other in others) / len(others) if others else CHANCE


class _Choice:
    """Forced choice of each tested fact under one attack, by number."""

    def __init__(self, row: AttackRow, tested: Any) -> None:
        self.label = row.label
        self.items: dict[int, float | None] = {}
        for number, value in zip(tested, row.items, strict=False):
            self.items.setdefault(int(number), value)


def _attacks(results: Results) -> tuple[AttackRow | None, list[_Choice]]:
    """The attack that brought most back, and all that say something of single facts."""
    verdicts = results.verdict
    if verdicts is None or not len(verdicts):
        return None, []
    verdict: Verdict = verdicts[0]
    rows = [row for row in verdict.attacks if row.items and not row.not_possible]
    whole = verdict.share_left.value
    most = next((row for row in rows if row.share_left.value == whole), rows[0] if rows else None)
    return most, [_Choice(row, verdicts.tested) for row in rows]


def _curves(results: Results) -> dict[str, dict[str, Any]]:
    """By component, the centre layers (``x``) and the recovery of each fact in them (``y``, by number)."""
    settings = results.about["identity"]["settings"]
    numbers = evenly(int(results.about["n_facts"].get("forget", 0)), int(settings["max_facts"]))
    found: dict[str, dict[str, Any]] = {}
    for sweep in (results.activations, results.parameters):
        if sweep is None or sweep.data.sizes["prompt"] != len(numbers) or "krs" not in sweep.metrics:
            continue
        for name in map(str, sweep.data["component"].values):
            if not split_control(name)[1]:
                found[label(name)] = _curve(sweep, name, numbers)
    return found


def _curve(sweep: SweepResult, component: str, numbers: list[int]) -> dict[str, Any]:
    values = sweep.recovery("krs").sel(component=component).transpose("layer", "prompt")
    there = np.isfinite(values.values).any(axis=1)
    layers = values["layer"].values[there].tolist()
    return {
        "x": layers,
        "y": {
            number: [round(float(v), 4) if isfinite(v) else None for v in values.values[there, place]]
            for place, number in enumerate(numbers)
        },
    }
