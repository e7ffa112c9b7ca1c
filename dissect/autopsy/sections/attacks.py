"""Section on what attacks bring back: relearning, rounding, other prompts."""

from typing import Any

from dissect.autopsy.page import Section, Table
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent
from dissect.autopsy.sections.answers_section import SETS, shown_order
from dissect.autopsy.sections.depth import figures
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import ScoredRow

_RELEARNING = (
    "Relearning: the model is trained on part of the forget facts and asked for the others. What comes back of those "
    "was still in the weights, unless a model that never knew them gains as much."
)
_ROUNDING = (
    "Rounding: the matrices of attention and MLPs are rounded to few bits; embeddings and unembedding are not. Where "
    "an answer returns, the change that hid it was smaller than a rounding step."
)
_PROMPTS = (
    "Other prompts: the same facts asked in other words, in another template, or with some text before the question."
)

_PLACES = {
    "plain": "as asked",
    "template": "in another template",
    "paraphrases": "in other words",
    "held_out": "in words training never saw",
    "expert": "with the role of an expert",
    "context": "after a text about the fact",
    "answer_begun": "with the answer begun (which gives part of it away)",
    "none": "not rounded",
}
"""Places of measures, in words."""
_WHOLE = {"prompt_attacks": "best of the prompts that give nothing away"}
"""Measures whose number without a place is none of the others, and what it is."""


def attacks(results: Results) -> Section:
    """Curves of relearning; tables of rounding and of prompts."""
    heading = "What attacks bring back"
    evaluation = results.evaluation
    if evaluation is None:
        return Section(heading, [absent(results, "evaluation", "The evaluation")])
    parts: list[Any] = []
    for name, words, along in (
        ("relearning", _RELEARNING, "step"),
        ("quantisation", _ROUNDING, ""),
        ("prompt_attacks", _PROMPTS, ""),
    ):
        rows = [row for row in evaluation.rows if row.measure == name]
        if not rows:
            parts.append(f"{words} Not measured here: {_reason(evaluation, name)}.")
            continue
        parts.append(words)
        if along:
            caption = "Mean over facts held out from the training; the control is the retrained model."
            parts += figures(evaluation, name, caption, along, of="answer probability")
        if not along:
            parts.append(places(evaluation, rows))
    return Section(heading, parts)


def places(evaluation: Evaluation, rows: list[ScoredRow]) -> Table:
    """A row for each place of a measure, a column a checkpoint."""
    keys = list(dict.fromkeys((row.set, tuple(row.at.items())) for row in rows if row.at or row.measure in _WHOLE))
    cells = {(row.model, row.set, tuple(row.at.items())): row.text for row in rows}
    body = [
        (
            SETS.get(set, set),
            _where(at) or _WHOLE[rows[0].measure],
            *(cells.get((name, set, at), "") for name in shown_order(evaluation)),
        )
        for set, at in keys
    ]
    return Table(("facts", "how", *shown_order(evaluation)), body, grouped=True)


def _where(at: tuple[tuple[str, float | int | str], ...]) -> str:
    return ", ".join(_PLACES.get(str(value), str(value)) for _, value in at)


def _reason(evaluation: Evaluation, measure: str) -> str:
    reasons = [refusal.reason for refusal in evaluation.refused if refusal.measure == measure]
    return reasons[0].rstrip(".") if reasons else "it was not requested"
