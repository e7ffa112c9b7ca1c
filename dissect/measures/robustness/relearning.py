"""Relearning: what training on some forgotten facts brings back of the others; see ``dissect.relearn``."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dissect.errors import Undefined
from dissect.measures.examined import Subject
from dissect.measures.measure import Estimate, Measure

OF = {"probability": "answer probability", "exact_match": "exact match"}
DIFFERENCE = "difference"


def relearning(subject: Subject) -> list[Estimate]:
    """The level at the end; the curves, of the control too where there is one; what is gained beyond it.

    Options are the arguments of ``dissect.relearn``; ``on`` may name a set of facts.
    """
    result, seed = _relearned(subject), subject.settings.seed
    try:
        if subject.retain.model is not subject.model:
            result = result.beside(_relearned(subject.retain))
    except Undefined:
        pass  # without a control
    return list(_estimates(result, seed))


def _relearned(subject: Subject) -> Any:
    """Once for each checkpoint: the control is trained once for all that are compared with it."""
    return subject.memo(("relearning", subject.set), lambda: _relearn(subject))


def _relearn(subject: Subject) -> Any:
    told = {
        name.removeprefix("relearning."): value
        for name, value in subject.settings.options.items()
        if name.startswith("relearning.")
    }
    if "on" in told:
        told["on"] = subject.on(told["on"]).facts
    try:
        base = {"base": subject.base.model}
    except Undefined:
        base = {}
    how = subject.settings
    given = {"template": how.template, "test_batch_size": how.batch_size, "seed": how.seed, "progress": how.progress}
    return subject.tools.relearn(subject.model, subject.facts, **base, **(given | told))


def _estimates(result: Any, seed: int) -> Iterator[Estimate]:
    whose = {"model": "itself", "control": "control", DIFFERENCE: DIFFERENCE}
    for of, label in OF.items():
        points = result.curve(of, seed=seed)
        if of == "probability":
            last = points[points["model"] == "model"].iloc[-1]
            items = result.data[of].sel(model="model").isel(step=-1).values
            yield Estimate(last["value"], int(last["n"]), last["low"], last["high"], items=items)
        for point in points.to_dict("records"):
            at = {"step": point["step"], "whose": whose[point["model"]], "of": label}
            yield Estimate(point["value"], point["n"], point["low"], point["high"], at=at)
    for row in result.table("probability", seed=seed).to_dict("records"):
        for key in ("gain", "recovered"):
            if row.get(key) == row.get(key) and key in row:
                at = {"whose": whose[row["model"]], "of": key}
                yield Estimate(row[key], result.data.sizes["fact"], row[f"{key}_low"], row[f"{key}_high"], at=at)
    taught = result.taught(seed=seed)
    if taught is not None and np.isfinite(taught["taught"]):
        at = {"whose": "itself", "of": "taught"}
        yield Estimate(taught["taught"], result.data.sizes["fact"], taught["taught_low"], taught["taught_high"], at=at)
    if "control" in result.models:
        yield Estimate(result.agreement(), result.data.sizes["fact"], at={"whose": DIFFERENCE, "of": "R"})


MEASURE = Measure(
    name="relearning",
    label="answer probability after relearning",
    definition=(
        "probability of an answer (exp of the mean log p of its tokens) after training on other forget facts: facts "
        "about half of the subjects are trained on and the others tested, and the reverse; intervals draw subjects. "
        "On the way: the curve over steps, of a control that never saw the facts too, the difference (model less "
        "control, paired), the gain from the first step to the last, the recovered share (gain / what the base model "
        "had more at the start), the same of the facts that are trained on (taught), "
        "and R of the UDS paper (arXiv:2605.24614) with these held-out facts"
    ),
    family="robustness",
    compute=relearning,
    sets=("forget",),
    knows="high",
    slow=True,
)
