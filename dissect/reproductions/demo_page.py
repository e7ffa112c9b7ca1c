"""Further words of the demo's page: what world this is, the methods side by side, how to continue."""

import shlex
from pathlib import Path

from dissect import plots
from dissect.autopsy.page import Code, Drawing, Section, Table
from dissect.autopsy.sections.answers_section import measures
from dissect.autopsy.sections.attacks import places
from dissect.evaluation.evaluation_result import Evaluation
from dissect.reproductions.demo_settings import DemoSettings
from dissect.verdicts.result import Verdicts


def lead(settings: DemoSettings) -> str:
    """Say what was done."""
    return (
        f"A small model learnt {settings.n_attributes} things about each of {settings.n_people} people who do not "
        f"exist, and was then made to forget {settings.n_forget} of them by {len(settings.methods)} methods. One of "
        f"the checkpoints, {settings.dissected}, is dissected here: is what it knew about them gone, or just no longer "
        "read out? The retain facts are about people whom no unlearning run saw."
    )


def sections(compared: Evaluation, judged: Verdicts, out: Path, settings: DemoSettings) -> list[Section]:
    """The methods side by side; the same for one's own checkpoints."""
    rounded = [row for row in compared.rows if row.measure == "quantisation" and row.at and row.set == "forget"]
    methods = Section(
        "The methods side by side",
        [
            "All methods began with the same base model. The retrained model never heard of the forgotten people; "
            "noise-and-repair was destroyed by noise and then taught the retain facts and the plain texts again.",
            _words(judged),
            Drawing(plots.panel(judged), "The same panel of attacks on every checkpoint."),
            Drawing(
                plots.tradeoff(compared), "What is left of the forget facts, against what is kept of the retain facts."
            ),
            measures(compared, ("exact_match", "answer_probability", "uds"), "means over facts, 95% intervals"),
            "Forget facts after the weights were rounded to 8 and 4 bits:",
            places(compared, rounded),
        ],
    )
    return [methods, Section("The same for your own checkpoints", [_commands(out, settings.dissected)])]


def _words(judged: Verdicts) -> Table:
    """The word for every checkpoint."""
    shown = judged.table()
    rows = [[str(value) for value in row] for row in shown.itertuples(index=False)]
    return Table([str(column) for column in shown.columns], rows, "the verdict on each checkpoint (docs/verdict.md)")


def _commands(out: Path, dissected: str) -> Code:
    base, unlearned, facts, retain = (
        shlex.quote(str(out / name)) for name in ("base", dissected, "forget.jsonl", "retain_unseen.jsonl")
    )
    report, word, sweep, figure = (
        shlex.quote(str(out.parent / name)) for name in ("report.html", "verdict.json", "sweep.nc", "sweep.html")
    )
    return Code(
        f"dissect inspect {base} {unlearned}\n"
        f"dissect verdict {base} {unlearned} --forget {facts} --retain {retain} --out {word}\n"
        f"dissect report {base} {unlearned} --forget {facts} --retain {retain} --out {report}\n"
        f"dissect patch {base} {unlearned} --facts {facts} --out {sweep}\n"
        f"dissect plot {sweep} --out {figure}"
    )
