"""How long a report will take, roughly: the time of one forward pass, times the passes of each step."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dissect.attacks.attack import chosen_attacks
from dissect.attacks.training_budget import BATCH_SIZE, STEPS, TRAINING, TRAININGS
from dissect.autopsy.settings import ReportSettings
from dissect.autopsy.step_inputs import StepInputs, evenly
from dissect.autopsy.steps import STEPS as EVERY
from dissect.autopsy.steps import chosen_steps
from dissect.autopsy.stored_verdict import stored_verdict
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.models.pair import ModelPair
from dissect.planning.panel_work import READINGS
from dissect.reading.token_scores import token_scores

_LIST = 6
"""Passes that a list of short answers to one question costs, about; its prefix is read once."""
_BACKWARD = 3
"""Passes that one step of training costs for each of its facts."""
_MEASURES = 20
"""Passes of the default measures on a fact."""
_EACH = 2
"""Passes of one measure that was named."""
_SWAPPED, _RESTORED, _SEARCHED = 5, 8, 47
"""Passes for each layer and fact: of the activation sweep with its controls, of the restoration, of the search."""
_SINGLE = 10
"""Passes of the list of facts: tokens, lens, greedy answer, other answers."""


def time_estimate(
    pair: ModelPair,
    sets: Mapping[str, Facts],
    settings: ReportSettings,
    *,
    verdict: Path | None = None,
    folder: Path | None = None,
) -> dict[str, float]:
    """Return the seconds of each chosen step that ``folder`` does not hold yet, within a factor of about three.

    Runs the base model on one batch of forget facts, twice; pairs that are loaded one model at a time are not timed.

    Raises:
        DissectError: a step that does not exist, or facts that cannot be asked.
    """
    steps = [step for step in chosen_steps(settings.steps) if not (folder and (folder / EVERY[step].file).is_file())]
    if pair.one_at_a_time or not steps:
        return {}
    inputs = StepInputs(pair, sets, settings, None, False, verdict=verdict)
    passes = _passes(inputs, steps)
    second = _seconds(inputs)
    return {step: passes[step] * second for step in steps}


def in_words(seconds: Mapping[str, float]) -> str:
    """Return the estimate as a line, the longest steps first."""
    total = sum(seconds.values())
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{step} {_time(value)}" for step, value in parts if value >= 1 and value > total / 100)
    return f"This takes about {_time(total)}{f': {shown}' if shown else ''}."


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _passes(inputs: StepInputs, steps: Iterable[str]) -> dict[str, float]:
    """Forward passes of one fact, by step."""
    settings, sets, cfg = inputs.settings, inputs.sets, inputs.pair.base.cfg
    n_forget, n_models, n_layers = len(sets["forget"]), len(inputs.pair.models()), cfg.n_layers
    swept = min(n_forget, settings.max_facts)
    trains = any(attack.name in TRAINING for attack in chosen_attacks(settings.attacks))
    panel = n_forget * READINGS * _LIST + (TRAININGS * STEPS * BATCH_SIZE * _BACKWARD if trains else 0)
    heads = n_layers * cfg.n_heads
    picked = sum(len(evenly(len(facts), settings.max_picked)) for name, facts in sets.items() if name != "texts")
    counted = {
        "verdict": 0 if stored_verdict(inputs) is not None else panel * (n_models - 1),
        "evaluation": sum(map(len, sets.values()))
        * n_models
        * (_MEASURES if settings.measures is None else _EACH * len(settings.measures)),
        "activations": swept * n_layers * _SWAPPED,
        "parameters": swept * n_layers * _RESTORED,
        "smallest": min(swept, settings.search_facts) * n_layers * _SEARCHED,
        "positions": settings.n_shown * n_layers * _MEASURES,
        "heads": swept * (heads / 3 if heads <= settings.exact_heads else 2 * _BACKWARD),
        "lens": settings.n_shown * 4,
        "facts": picked * n_models * _SINGLE,
        "drift": 0,
    }
    return {step: float(counted[step]) for step in steps}


def _seconds(inputs: StepInputs) -> float:
    """Seconds of one pass of one fact, from the second of two runs of a batch."""
    facts = inputs.sets["forget"]
    some = Facts(facts[number] for number in evenly(len(facts), inputs.settings.batch_size))
    asking: dict[str, Any] = {"template": inputs.settings.template, "chat": inputs.settings.chat, "progress": False}
    try:
        prompts = some.prompts(inputs.pair.base, **asking)
    except DissectError:  # without answers: the questions alone
        prompts = inputs.prompts
    elapsed = 0.0
    for _ in range(2):
        started = time.perf_counter()
        token_scores(inputs.pair.base, prompts, batch_size=inputs.settings.batch_size)
        elapsed = time.perf_counter() - started
    return elapsed / max(1, len(prompts))
