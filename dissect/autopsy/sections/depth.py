"""Section on hidden states: depth of the erasure by layer, lenses, probes."""

from functools import partial
from typing import Any

from dissect import plots
from dissect.autopsy.page import Details, Drawing, Section
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent, drawn
from dissect.autopsy.sections.answers_section import measures
from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation

_CURVES = (
    (
        "uds_by_layer",
        "Loss that this model's states cause in the base model, relative to the retrained model's states.",
    ),
    (
        "erasure_curve",
        "Log-probability that the base model's answer loses to this model's states of one layer; 0: nothing is lost.",
    ),
)

_LENS = (
    "The same states read directly (logit lens): what each layer would say if it were the base model's last. An answer "
    "that is read somewhere is there; one that is not may still be there in a form that later layers turn into it."
)


def depth(results: Results) -> Section:
    """Curves by layer and the numbers that sum them up."""
    evaluation = results.evaluation
    heading = "What its states still hold"
    if evaluation is None:
        return Section(heading, [absent(results, "evaluation", "The evaluation")])
    words = (
        "The unlearned model reads the question; its state after one layer is put into the base model where the answer "
        "is predicted, and the base model continues. If it still gives the answer, the state held it, and what was "
        "changed lies after that layer. In early layers every model passes, because the base model reads the question "
        "again. The same reading on retain facts says whether the states of the two models can be exchanged at all."
    )
    parts: list[Any] = [words, measures(evaluation, ("uds", "erasure_depth"), "0: nothing erased, 1: erased")]
    parts += [figure for name, caption in _CURVES for figure in figures(evaluation, name, caption)]
    parts += _lens(results)
    more = [
        figure for name in evaluation.measures for figure in figures(evaluation, name, "") if _further(evaluation, name)
    ]
    if more:
        parts.append(Details("Lenses, probes and similarity of representations by layer", more))
    return Section(heading, parts)


def _lens(results: Results) -> list[Any]:
    """Draw what each layer would say to single facts: the first open, the others folded."""
    if results.lens is None:
        return [absent(results, "lens", "The logit lens")]
    table = results.lens
    drawings = [drawn(partial(plots.lens, table, prompt=number), "") for number in table.data["prompt"].values.tolist()]
    more = [Details(f"{len(drawings) - 1} more of these", drawings[1:])] if len(drawings) > 1 else []
    return [_LENS, drawings[0], *more]


def figures(evaluation: Evaluation, measure: str, caption: str, along: str = "layer", **at: str) -> list[Drawing]:
    """The curve of a measure on forget facts; none where it was not measured."""
    try:
        return [Drawing(plots.measured(evaluation, measure, along=along, **at), caption)]
    except DissectError:
        return []


def _further(evaluation: Evaluation, name: str) -> bool:
    return evaluation.measures[name]["family"] == "depth" and name not in dict(_CURVES)
