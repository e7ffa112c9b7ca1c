"""The facts of a sweep, as the picker takes them: what was asked, and the curve of each."""

from math import isfinite
from typing import Any

import numpy as np

from dissect.plots.labels import component as label
from dissect.plots.ticks import asked_in
from dissect.sweep.results.sweep_result import SweepResult


def sweep_data(result: SweepResult) -> dict[str, Any]:
    """Return the data of the picker; other dimensions than component, layer and prompt are averaged over."""
    metric = "krs" if "krs" in result.metrics else next(iter(result.metrics))
    values = result.recovery(metric)
    values = values.mean([dim for dim in values.dims if dim not in ("component", "layer", "prompt")])
    values = values.transpose("component", "layer", "prompt")
    names = {str(name): label(str(name)) for name in result.data["component"].values}
    table = values.values
    shown = np.isfinite(table).any(axis=2)
    layers = values["layer"].values.tolist()
    questions, answers = (
        [" ".join(str(text).split()) for text in result.data[name].values]
        for name in (asked_in(result.data), "answer_text")
    )
    prompts = [str(text) for text in result.data["prompt_text"].values]
    facts: list[dict[str, Any]] = [
        {
            "set": "forget",
            "number": number,
            "question": questions[number],
            "prompt": prompts[number],
            "expected": answers[number],
            "group": "",
            "subject": "",
            "said": [],
            "tokens": [],
            "p": [],
            "lens": [],
            "choice": None,
            "left": None,
            "attacks": [],
            "curve": {
                text: [_value(v) for v in table[row, shown[row], number]] for row, text in enumerate(names.values())
            },
        }
        for number in range(len(questions))
    ]
    return {
        "models": [],
        "lensModels": [],
        "vocabulary": [],
        "attacks": [],
        "attack": "",
        "curves": {
            text: [layer for layer, there in zip(layers, shown[row], strict=True) if there]
            for row, text in enumerate(names.values())
        },
        "thinned": "",
        "facts": facts,
    }


def _value(value: float) -> float | None:
    return round(float(value), 4) if isfinite(value) else None
