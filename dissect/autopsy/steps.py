"""The steps of a report: one table that says for each what it computes, and the file and type of its result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.autopsy.picker.fact_table import FactTable
from dissect.autopsy.picker.read_facts import read_facts
from dissect.autopsy.step_inputs import StepInputs, evenly
from dissect.autopsy.stored_verdict import stored_verdict
from dissect.errors import DissectError, near_miss
from dissect.evaluation.evaluate import chosen_measures, evaluate
from dissect.evaluation.evaluation_result import Evaluation
from dissect.measures.measure import FAMILIES
from dissect.measures.representation.drift import drift
from dissect.measures.representation.drift_map import Drift
from dissect.patching.attribute import attribute
from dissect.patching.lens_table import LensTable
from dissect.patching.logit_lens import logit_lens
from dissect.patching.patch import patch
from dissect.restoration.restore import restore
from dissect.restoration.smallest import smallest_set
from dissect.restoration.smallest_result import SmallestSet
from dissect.stored_result import StoredResult
from dissect.sweep.results.sweep_result import SweepResult
from dissect.verdicts.result import Verdicts
from dissect.verdicts.verdict import verdict

MAPPED = "resid_pre"
"""Site that maps over positions swap: the whole state before a layer."""
PARAMETERS = ("mlp.W_out", "mlp", "attn", "block")
"""Value vectors, as in the paper, and larger parts of a layer, which say what value vectors alone cannot."""
_METRICS = ("krs", "logprob")
_CHECKED = 20
"""Heads that are also swapped exactly, where all others are estimated."""


@dataclass(frozen=True)
class ReportStep:
    """One part of a report, kept in a file of its own."""

    compute: Callable[[StepInputs, Path], None]
    """Computes the result and writes it to the path."""
    file: str
    result: type[StoredResult] | type[Verdicts]
    """Type that reads the file."""
    shared: bool = True
    """True if several processes compute it together; otherwise one of them does."""


def _verdict(inputs: StepInputs, out: Path) -> None:
    """Put the unlearned and the retrained model through the panel of attacks; or take what is stored."""
    if (stored := stored_verdict(inputs)) is not None:
        stored.save(out)
        return
    sets, settings = inputs.sets, inputs.settings
    verdict(
        inputs.pair,
        forget=sets["forget"],
        retain=sets.get("retain"),
        texts=sets.get("texts"),
        attacks=settings.attacks,
        answers="base" if inputs.unanswered else "gold",
        template=settings.template,
        chat=settings.chat,
        max_new_tokens=settings.max_new_tokens,
        **inputs.shared(out),
    )


def _evaluation(inputs: StepInputs, out: Path) -> None:
    """Measure all models."""
    sets, settings = dict(inputs.sets), inputs.settings
    measures = FAMILIES if settings.measures is None else settings.measures
    evaluate(
        {"unlearned": inputs.pair.unlearned},
        forget=sets.pop("forget"),
        sets=sets,
        base=inputs.pair.base,
        retrained=inputs.pair.retrained,
        measures=[measure.name for measure in chosen_measures(measures)],
        answers="base" if inputs.unanswered else "gold",
        template=settings.template,
        chat=settings.chat,
        max_new_tokens=settings.max_new_tokens,
        options=settings.options,
        **inputs.shared(out),
    )


def _activations(inputs: StepInputs, out: Path) -> None:
    """Swap activations over windows of layers."""
    patch(inputs.pair, inputs.prompts, window=inputs.window, controls=True, metrics=_METRICS, **inputs.shared(out))


def _parameters(inputs: StepInputs, out: Path) -> None:
    """Restore parameters over windows of layers."""
    options: dict[str, Any] = inputs.shared(out) | {"window": inputs.window, "metrics": _METRICS, "controls": True}
    restore(inputs.pair, inputs.prompts, list(PARAMETERS), **options)


def _smallest(inputs: StepInputs, out: Path) -> None:
    """Search for the smallest set of blocks that restores the behaviour."""
    searched = evenly(len(inputs.prompts), inputs.settings.search_facts)
    smallest_set(inputs.pair, inputs.prompts[searched], **inputs.running).save(out)


def _positions(inputs: StepInputs, out: Path) -> None:
    """Map single facts over positions and layers."""
    options: dict[str, Any] = inputs.shared(out) | {"metrics": _METRICS}
    patch(inputs.pair, inputs.shown, [MAPPED], window=1, positions="each", **options)


def _heads(inputs: StepInputs, out: Path) -> None:
    """Swap heads one by one, exactly or to first order."""
    cfg = inputs.pair.base.cfg
    if cfg.n_layers * cfg.n_heads <= inputs.settings.exact_heads:
        patch(inputs.pair, inputs.prompts, ["z"], window=1, heads="each", **inputs.shared(out))
    else:
        attribute(inputs.pair, inputs.prompts, ["z"], per="head", check=_CHECKED, **inputs.shared(out))


def _lens(inputs: StepInputs, out: Path) -> None:
    """Read the states of both models, layer by layer."""
    logit_lens(inputs.pair, inputs.shown, progress=inputs.progress).save(out)


def _facts(inputs: StepInputs, out: Path) -> None:
    """Read single facts, for the picker."""
    read_facts(inputs).save(out)


def _drift(inputs: StepInputs, out: Path) -> None:
    """Measure how far each block of weights moved."""
    drift(inputs.pair, progress=inputs.progress).save(out)


STEPS: dict[str, ReportStep] = {
    "verdict": ReportStep(_verdict, "verdict.json", Verdicts),
    "evaluation": ReportStep(_evaluation, "evaluation.json", Evaluation),
    "activations": ReportStep(_activations, "activations.nc", SweepResult),
    "parameters": ReportStep(_parameters, "parameters.nc", SweepResult),
    "smallest": ReportStep(_smallest, "smallest.json", SmallestSet, shared=False),
    "positions": ReportStep(_positions, "positions.nc", SweepResult),
    "heads": ReportStep(_heads, "heads.nc", SweepResult),
    "lens": ReportStep(_lens, "lens.nc", LensTable, shared=False),
    "facts": ReportStep(_facts, "facts.json", FactTable, shared=False),
    "drift": ReportStep(_drift, "drift.nc", Drift, shared=False),
}
"""Steps by name, in the order in which they are computed."""


def chosen_steps(names: Iterable[str] | None) -> tuple[str, ...]:
    """Return the steps that were asked for, by default all.

    Raises:
        DissectError: a step that does not exist.
    """
    steps = tuple(STEPS) if names is None else tuple(names)
    for name in steps:
        if name not in STEPS:
            raise DissectError(
                f"no step {name!r}{near_miss(str(name), STEPS)} in a report: choose from {', '.join(STEPS)}"
            )
    return steps
