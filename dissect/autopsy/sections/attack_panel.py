"""The panel of attacks as the first screen shows it."""

from math import isfinite

from dissect.autopsy.page import Panel, PanelRow
from dissect.verdicts.result import Verdicts

_CAPTION = (
    "Forced choice: share of the comparisons that a fact's own answer wins against those of other subjects, under each "
    "attack. The number is the unlearned model's; lines are 95% intervals from resampling subjects. An attack that was "
    "not possible is left out; the stored verdict.json says why."
)
_RETRAINED = " Retrained: a model that never saw the forget facts."


def attack_panel(verdicts: Verdicts) -> Panel:
    """A line an attack; the unlearned model beside the retrained one, where there is one."""
    control = {} if verdicts.retrained is None else {row.name: row for row in verdicts.retrained.attacks}
    rows = []
    for row in verdicts[0].attacks:
        if not isfinite(row.forced_choice):
            continue
        marks = [("unlearned", row.forced_choice, row.low, row.high)]
        other = control.get(row.name)
        if other is not None and isfinite(other.forced_choice):
            marks.append(("retrained", other.forced_choice, other.low, other.high))
        rows.append(PanelRow(row.label, marks))
    return Panel(rows, float(verdicts.base["forced_choice"]["value"]), _CAPTION + _RETRAINED * bool(control))
