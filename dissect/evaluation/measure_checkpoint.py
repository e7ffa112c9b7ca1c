"""Running measures on one checkpoint: every set, every refusal, some answers to read."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tqdm.auto import tqdm

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import Refusal, ScoredRow
from dissect.evaluation.sets import subjects
from dissect.measures.estimate import Estimate
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.reading.answers import Answer, say
from dissect.visible import visible

log = logging.getLogger(__name__)


def measured(
    examined: Examined,
    measures: Iterable[Measure],
    *,
    about: Mapping[str, Any],
    spec: Mapping[str, Any],
    n_examples: int,
) -> Evaluation:
    """Run every measure on every set that it is for, and draw the intervals; what is not defined keeps its reason.

    Where facts share subjects, whole subjects are drawn.
    """
    groups = subjects(examined.sets)
    rows: list[ScoredRow] = []
    refused: list[Refusal] = []
    measures = list(measures)
    pairs = [(measure, set) for measure in measures for set in measure.sets if set in examined.sets]
    absent = [measure for measure in measures if not any(set in examined.sets for set in measure.sets)]
    for measure in absent:
        reason = f"it is defined on {' or '.join(measure.sets)}, and none were given: pass {measure.sets[0]}=..."
        refused.append(Refusal(examined.name, measure.name, measure.sets[0], reason))
    name, quiet = visible(examined.name, lines=False), not examined.settings.progress
    with tqdm(pairs, desc=name, unit="measure", disable=quiet) as bar:
        for measure, set in bar:
            bar.set_postfix_str(visible(f"{measure.name} on {set}", lines=False))
            try:
                result = measure.compute(examined.on(set))
            except DissectError as error:
                log.info("%s of %s on %s: %s", measure.name, examined.name, set, error)
                refused.append(Refusal(examined.name, measure.name, set, str(error)))
                continue
            for estimate in [result] if isinstance(result, Estimate) else result:
                drawn = estimate.with_interval(groups.get(set), seed=examined.settings.seed)
                rows.append(ScoredRow.of(examined.name, measure.name, set, drawn))
    described = {m.name: {k: getattr(m, k) for k in ("label", "definition", "family", "knows")} for m in measures}
    answers = [row for set in examined.sets for row in _examples(examined.on(set), n_examples)]
    return Evaluation(
        models=[{"name": examined.name, **about}],
        rows=rows,
        refused=refused,
        answers=answers,
        measures=described,
        spec=dict(spec) | {"subjects": {set: numbers.tolist() for set, numbers in groups.items()}},
    )


def _examples(examined: Examined, n_examples: int) -> list[dict[str, str]]:
    """Return answers to facts spread evenly over the set; none to plain texts."""
    if n_examples < 1 or any(fact.kind == "text" for fact in examined.facts):
        return []
    step = max(1, len(examined.facts) // n_examples)
    numbers = range(0, len(examined.facts), step)[:n_examples]
    try:
        answers = _answers(examined, numbers)
    except DissectError as error:  # said once by each measure that needs the prompts
        log.info("no examples of %s: %s", examined.set, error)
        return []
    asked = (examined.prompts.questions[number] for number in numbers)
    return [
        {"set": examined.set, "question": question, "prompt": a.prompt, "expected": a.expected, examined.name: a.said}
        for question, a in zip(asked, answers, strict=True)
    ]


def _answers(examined: Examined, numbers: Sequence[int]) -> list[Answer]:
    if "answers" in vars(examined):  # some measure asked already
        return [examined.answers[number] for number in numbers]
    return say(examined.model, examined.prompts[list(numbers)], max_new_tokens=examined.settings.max_new_tokens)
