"""Section on what unlearning cost: retain facts, unrelated facts, plain texts."""

from typing import Any

from dissect.autopsy.page import Section
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent
from dissect.autopsy.sections.answers_section import BEHAVIOUR, examples, measures

KEPT = ("retain", "unrelated", "texts")


def cost(results: Results) -> Section:
    """Behaviour on everything that was to stay as it was, and answers to read."""
    heading = "What was to be kept"
    evaluation = results.evaluation
    if evaluation is None:
        return Section(heading, [absent(results, "evaluation", "The evaluation")])
    parts: list[Any] = [measures(evaluation, BEHAVIOUR, "means over facts, 95% intervals", sets=KEPT)]
    return Section(heading, [*parts, *examples(evaluation, ("retain", "unrelated"))])
