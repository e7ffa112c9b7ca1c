"""Section on how it was measured: definitions, refusals, settings, versions, the command that repeats it."""

from collections.abc import Mapping
from typing import Any

from dissect.autopsy.page import Code, Details, Section, Table
from dissect.autopsy.results import Results
from dissect.statistics.wilson import FEW


def method(results: Results) -> Section:
    """Everything that a reader needs to judge or repeat a number."""
    about = results.about
    options = dict(about["identity"]["settings"])
    chat, answers = options.pop("chat", None), options.get("answers")
    settings = [(name, value) for name, value in options.items() if value is not None]
    parts: list[Any] = []
    if about.get("command"):
        parts += ["To repeat it:", Code(about["command"])]
    parts.append(
        "Intervals are seeded 95% percentile bootstraps with 2000 resamples: over facts, where those about one "
        "subject are drawn together, and over prompts in sweeps. Shares of yes/no answers have Wilson's score interval "
        f"where fewer than {FEW} subjects say yes, or fewer say no, with a subject's facts counted as one. Sweeps run "
        "every cell exactly and restore the recipient model to the bit after each."
    )
    parts.append(_asked(chat, about["identity"].get("chat_templates", {}), answers))
    parts.append(Table(("setting", ""), [(name, str(value)) for name, value in settings]))
    evaluation = results.evaluation
    if evaluation is not None:
        rows = [(measure["label"], measure["definition"]) for measure in evaluation.measures.values()]
        parts.append(Details("Definitions of all measures", [Table(("measure", "definition"), rows)]))
        refused = list(dict.fromkeys((refusal.measure, refusal.set, refusal.reason) for refusal in evaluation.refused))
        if refused:
            table = Table(("measure", "facts", "reason"), refused)
            parts.append(Details(f"{len(refused)} measures that are not defined here", [table]))
    if results.missing:
        parts.append(Table(("missing", "reason"), list(results.missing.items())))
    seconds = [(step, f"{value:.1f} s") for step, value in about.get("seconds", {}).items()]
    parts.append(Details("How long each step took", [Table(("step", "time"), seconds)]))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts.append(f"Made with {versions}.")
    return Section("How it was measured", parts)


def _asked(chat: Any, templates: Mapping[str, str], answers: Any) -> str:
    """In which format the facts are asked, and whose answers are scored."""
    if chat is None:
        form = "Questions are put in the template below, outside any chat format."
    else:
        told = ", ".join(f"{name}: {value!r}" for name, value in chat.items())
        form = f"Questions are asked in the checkpoint's own chat template ({told or 'with its defaults'})."
        hashes = ", ".join(f"{name} {value}" for name, value in templates.items())
        form += f" Hash of the template: {hashes}." if hashes else ""
    if answers == "base":
        return f"{form} Sweeps score the base model's own greedy answers, the evaluation those of the facts."
    return (
        f"{form} The answers of the facts are scored, the default everywhere; where a fact comes without one, the base "
        "model's own greedy answers take the place of all."
    )
