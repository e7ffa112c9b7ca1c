"""Maps: layer by position for single facts, layer by head."""

from functools import partial
from typing import Any

import plotly.graph_objects as go

from dissect import plots
from dissect.autopsy.page import Details, Section
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent, drawn
from dissect.plots.labels import counted
from dissect.plots.ticks import asked_in
from dissect.sweep.results.sweep_result import SweepResult

_POSITIONS, _HEADS = (
    "Recovery from the base model's state, put in at one token and layer",
    "The base model's output of one head put in",
)


def maps(results: Results) -> Section:
    """Map the tokens and heads whose base-model activations bring the answer back."""
    parts: list[Any] = []
    if results.positions is None:
        parts.append(absent(results, "positions", "The map over positions"))
    else:
        parts.append(
            "The base model's whole state before one layer, at one token, is put into the unlearned model: where on "
            "the text does it hold the answer? Tokens of the answer are in bold; a number is the distance from its "
            "first."
        )
        data = results.positions.data
        for prompt in data["prompt"].values.tolist():
            question = " ".join(str(data[asked_in(data)].sel(prompt=prompt).values).split())
            answer = str(data["answer_text"].sel(prompt=prompt).values).strip()
            parts.append(drawn(partial(_positions, results.positions, prompt), f"{question} → {answer}"))
    if results.heads is None:
        parts.append(absent(results, "heads", "The map over heads"))
    else:
        spec, n = results.heads.spec, results.heads.data.sizes["prompt"]
        precision = "estimated to first order" if spec.get("kind") == "attribution" else "each swapped alone, exactly"
        caption = f"Outputs z of single heads of the base model, {precision}; {counted(n, 'fact')}."
        parts.append(drawn(partial(plots.heatmap, results.heads, x="head", y="layer", title=_HEADS), caption))
        if "agreement" in results.heads.data.attrs:
            checked = "Heads that were also swapped exactly: how far the estimates above can be trusted."
            parts.append(
                Details("Estimates against exact swaps", [drawn(partial(plots.agreement, results.heads), checked)])
            )
    return Section("Which tokens, which heads", parts)


def _positions(result: SweepResult, prompt: int) -> go.Figure:
    return plots.heatmap(result, "logprob", x="position", y="layer", prompt=prompt, title=_POSITIONS)
