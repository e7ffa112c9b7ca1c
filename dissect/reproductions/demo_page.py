"""Further words of the demo's page: what world this is, the methods side by side, how to continue."""

import shlex
from pathlib import Path

from dissect import plots
from dissect.autopsy.page import Code, Drawing, Section
from dissect.autopsy.sections.answers_section import measures
from dissect.autopsy.sections.attacks import places
from dissect.evaluation.evaluation_result import Evaluation
from dissect.reproductions.demo_settings import DemoSettings


def lead(settings: DemoSettings) -> str:
    """Say what was done."""
    return (
        f"A small model learnt {settings.n_attributes} things about each of {settings.n_people} people who do not "
        f"exist; it was then made to forget {settings.n_forget} of them, by {len(settings.methods)} methods. One of "
        f"the checkpoints, {settings.dissected}, is dissected here: is what it knew of them gone, or only no longer "
        "read out? The other people are those that no training for forgetting saw."
    )


def sections(compared: Evaluation, out: Path, settings: DemoSettings) -> list[Section]:
    """The methods side by side; the same for one's own checkpoints."""
    rounded = [row for row in compared.rows if row.measure == "quantisation" and row.at and row.set == "forget"]
    methods = Section(
        "The methods side by side",
        [
            "All methods began with the same base model. Retrained is one that never heard of the forgotten people.",
            Drawing(plots.tradeoff(compared), "What is left of the forgotten people against what is kept of others."),
            measures(compared, ("exact_match", "answer_probability", "uds"), "means over facts, 95 % intervals"),
            "Forget facts after rounding the weights to few bits:",
            places(compared, rounded),
        ],
    )
    return [methods, Section("The same for your own checkpoints", [_commands(out, settings.dissected)])]


def _commands(out: Path, dissected: str) -> Code:
    base, unlearned, facts, retain = (
        shlex.quote(str(out / name)) for name in ("base", dissected, "forget.jsonl", "retain_unseen.jsonl")
    )
    report, sweep, figure = (shlex.quote(str(out.parent / name)) for name in ("report.html", "sweep.nc", "sweep.html"))
    return Code(
        f"dissect inspect {base} {unlearned}\n"
        f"dissect report {base} {unlearned} --forget {facts} --retain {retain} --out {report}\n"
        f"dissect patch {base} {unlearned} --facts {facts} --out {sweep}\n"
        f"dissect plot {sweep} --out {figure}"
    )
