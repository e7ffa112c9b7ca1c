"""Section on what the models say: shares by set of facts, and answers side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from dissect.autopsy.page import Details, PagePart, Section, Table
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent
from dissect.evaluation.evaluation_result import Evaluation

SETS = {
    "forget": "to be forgotten",
    "paraphrased": "the same in other words",
    "held_out": "the same in words training never saw",
    "retain": "to be retained",
    "unrelated": "unrelated",
    "texts": "plain texts",
}
"""Names of the sets of facts, in words."""
_FAMILIES = ("behaviour", "memorisation")
BEHAVIOUR = ("contains", "exact_match", "rouge_l", "answer_probability", "perplexity")
"""Measures that say what a reader asks first."""
_N_EXAMPLES = 6
_WIDTH = 160


def behaviour(results: Results) -> Section:
    """Tables of behaviour and memorisation; examples of each set."""
    evaluation = results.evaluation
    if evaluation is None:
        return Section("What the models say", [absent(results, "evaluation", "The evaluation")])
    parts: list[Any] = [
        "Values are means over facts with 95% bootstrap intervals. For the definitions of the measures see How it was "
        "measured.",
        measures(evaluation, BEHAVIOUR, "shares and probabilities", sets=("forget", "paraphrased", "held_out")),
        *examples(evaluation, ("forget",)),
        Details("All measures of behaviour and memorisation", [measures(evaluation, _all(evaluation), "")]),
    ]
    return Section("What the models say", parts)


def measures(
    evaluation: Evaluation, names: tuple[str, ...], caption: str, sets: Sequence[str] | None = None
) -> PagePart:
    """One row a set under each measure, a column a checkpoint; a sentence where none of them was measured."""
    rows, order = [], shown_order(evaluation)
    for name in names:
        for set in dict.fromkeys(row.set for row in evaluation.rows if sets is None or row.set in sets):
            cells = [evaluation.get(m, name, set).text if _single(evaluation, m, name, set) else "" for m in order]
            if any(cells):
                rows.append((evaluation.measures[name]["label"], SETS.get(set, set), *cells))
    if not rows:
        labels = [evaluation.measures.get(name, {}).get("label", name.replace("_", " ")) for name in names]
        return f"Not measured here: {', '.join(labels)}."
    return Table(("measure", "facts", *order), rows, caption=caption, grouped=True)


def shown_order(evaluation: Evaluation) -> list[str]:
    """The checkpoints with the examined ones first: on a phone these are the columns that are seen."""
    beside = [model["name"] for model in evaluation.models if model.get("role")]
    return [*(name for name in evaluation.names if name not in beside), *beside]


def _single(evaluation: Evaluation, model: str, measure: str, set: str) -> bool:
    return any((r.model, r.measure, r.set) == (model, measure, set) and not r.at for r in evaluation.rows)


def _all(evaluation: Evaluation) -> tuple[str, ...]:
    return tuple(name for name, about in evaluation.measures.items() if about["family"] in _FAMILIES)


def examples(evaluation: Evaluation, sets: Sequence[str]) -> list[Table]:
    """Some greedy answers of each set, beside the expected ones; the question alone, without its template."""
    tables = []
    for set in sets:
        rows = [row for row in evaluation.answers if row["set"] == set][:_N_EXAMPLES]
        if rows:
            names = [name for name in shown_order(evaluation) if name in rows[0]]
            body = [(_asked(row), row["expected"], *(_short(row.get(n, "")) for n in names)) for row in rows]
            caption = f"greedy answers, facts {SETS[set]}"
            header = ("asked", "expected", *(f"{name} says" for name in names))
            tables.append(Table(header, body, caption=caption, stacked=True))
    return tables


def _asked(row: Mapping[str, str]) -> str:
    prompt = row["prompt"].removeprefix("Question: ").removesuffix("\nAnswer:")
    return _short(row.get("question") or prompt)


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
