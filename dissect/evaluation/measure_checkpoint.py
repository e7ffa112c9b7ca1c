"""Running measures on one checkpoint: each set, each refusal, some answers to look at."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm.auto import tqdm

from dissect.errors import DissectError
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import Refusal, Row
from dissect.evaluation.sets import subjects
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure
from dissect.reading.answers import Answer, say
from dissect.statistics.bootstrap import mean_interval

log = logging.getLogger(__name__)


def measured(
    subject: Subject, measures: Iterable[Measure], *, about: Mapping[str, Any], spec: Mapping[str, Any], n_examples: int
) -> Evaluation:
    """Every measure on every set that it is for; what is not defined is written down with its reason."""
    groups = subjects(subject.sets)
    rows: list[Row] = []
    refused: list[Refusal] = []
    chosen = list(measures)
    pairs = [(measure, set) for measure in chosen for set in measure.sets if set in subject.sets]
    absent = [measure for measure in chosen if not any(set in subject.sets for set in measure.sets)]
    for measure in absent:
        reason = f"it is defined on {' or '.join(measure.sets)}, and none were given: pass {measure.sets[0]}=..."
        refused.append(Refusal(subject.name, measure.name, measure.sets[0], reason))
    with tqdm(pairs, desc=subject.name, unit="measure", disable=not subject.settings.progress) as bar:
        for measure, set in bar:
            bar.set_postfix_str(f"{measure.name} on {set}")
            try:
                found = measure.compute(subject.on(set))
            except DissectError as error:
                log.info("%s of %s on %s: %s", measure.name, subject.name, set, error)
                refused.append(Refusal(subject.name, measure.name, set, str(error)))
                continue
            estimates = [found] if isinstance(found, Estimate) else found
            by = groups.get(set)
            rows.extend(
                Row.of(subject.name, measure.name, set, _by_subject(each, by, subject.settings.seed))
                for each in estimates
            )
    described = {m.name: {k: getattr(m, k) for k in ("label", "definition", "family", "knows")} for m in chosen}
    answers = [row for set in subject.sets for row in _examples(subject.on(set), n_examples)]
    return Evaluation(
        models=[{"name": subject.name, **about}],
        rows=rows,
        refused=refused,
        answers=answers,
        measures=described,
        spec=dict(spec) | {"subjects": {set: numbers.tolist() for set, numbers in groups.items()}},
    )


def _by_subject(found: Estimate, groups: Int[np.ndarray, "fact"] | None, seed: int) -> Estimate:
    """A mean over facts with the interval of drawing whole subjects, where facts share them."""
    if groups is None or found.items is None or len(found.items) != len(groups) or np.isnan(found.low):
        return found
    defined = ~np.isnan(found.items)
    if not np.isclose(found.items[defined].mean(), found.value):  # more than a mean
        return found
    low, high = mean_interval(found.items[defined], groups[defined], seed=seed)
    return replace(found, low=low, high=high)


def _examples(subject: Subject, n_examples: int) -> list[dict[str, str]]:
    """Answers to facts spread evenly over the set; none of plain texts."""
    if n_examples < 1 or any(fact.kind == "text" for fact in subject.facts):
        return []
    step = max(1, len(subject.facts) // n_examples)
    places = range(0, len(subject.facts), step)[:n_examples]
    try:
        answers = _answers(subject, places)
    except DissectError as error:  # said once by each measure that needs the prompts
        log.info("no examples of %s: %s", subject.set, error)
        return []
    return [{"set": subject.set, "prompt": a.prompt, "expected": a.expected, subject.name: a.said} for a in answers]


def _answers(subject: Subject, places: Sequence[int]) -> list[Answer]:
    if "answers" in vars(subject):  # some measure asked already
        return [subject.answers[place] for place in places]
    return say(subject.model, subject.prompts[list(places)], max_new_tokens=subject.settings.max_new_tokens)
