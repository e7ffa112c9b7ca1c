"""Section on what the models say: shares by set of facts, and answers side by side."""

from typing import Any

from dissect.autopsy.page import Details, Section, Table
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
        measures(
            evaluation,
            ("contains", "exact_match", "rouge_l", "answer_probability", "perplexity"),
            "shares and probabilities",
        ),
        *_examples(evaluation),
        Details("All measures of behaviour and memorisation", [measures(evaluation, _all(evaluation), "")]),
    ]
    return Section("What the models say", parts)


def measures(evaluation: Evaluation, names: tuple[str, ...], caption: str) -> Table:
    """One row a measure and set, a column a checkpoint."""
    rows = []
    for name in names:
        for set in dict.fromkeys(row.set for row in evaluation.rows):
            cells = [
                evaluation.get(m, name, set).text if _single(evaluation, m, name, set) else "" for m in evaluation.names
            ]
            if any(cells):
                rows.append((evaluation.measures[name]["label"], SETS.get(set, set), *cells))
    return Table(("measure", "facts", *evaluation.names), rows, caption=caption)


def _single(evaluation: Evaluation, model: str, measure: str, set: str) -> bool:
    return any((r.model, r.measure, r.set) == (model, measure, set) and not r.at for r in evaluation.rows)


def _all(evaluation: Evaluation) -> tuple[str, ...]:
    return tuple(name for name, about in evaluation.measures.items() if about["family"] in _FAMILIES)


def _examples(evaluation: Evaluation) -> list[Table]:
    tables = []
    for set in ("forget", "retain", "unrelated"):
        rows = [row for row in evaluation.answers if row["set"] == set][:_N_EXAMPLES]
        if rows:
            names = [name for name in evaluation.names if name in rows[0]]
            body = [(_asked(row["prompt"]), row["expected"], *(_short(row.get(n, "")) for n in names)) for row in rows]
            caption = f"greedy answers, facts {SETS[set]}"
            tables.append(Table(("asked", "expected", *(f"{name} says" for name in names)), body, caption=caption))
    return tables


def _asked(prompt: str) -> str:
    return _short(prompt.removeprefix("Question: ").removesuffix("\nAnswer:"))


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
