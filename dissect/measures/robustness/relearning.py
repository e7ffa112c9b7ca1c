"""Relearning: what training on some forgotten facts brings back of the others; see ``dissect.relearn``."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np

from dissect.attacks.relearn.relearn import relearn
from dissect.attacks.relearn.relearned import Relearning
from dissect.attacks.relearn.relearning_plan import DEFAULTS
from dissect.errors import Undefined
from dissect.measures.estimate import Estimate
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option
from dissect.unlearning.config.train_config import TrainConfig, make_config

OF = {"probability": "answer probability", "exact_match": "exact match"}
DIFFERENCE = "difference"


_DECIDED = ("model", "facts", "control", "base", "template", "chat", "test_batch_size", "progress", "settings")
"""Arguments of ``dissect.relearn`` that an evaluation decides itself."""
_OF_TEXTS = ("max_length", "stride")
"""Training settings for plain texts, which relearning does not train on."""
_ARGUMENTS = {name: value.default for name, value in signature(relearn).parameters.items() if name not in _DECIDED}


def relearning(examined: Examined) -> list[Estimate]:
    """Level at the end; the curves, of the control too where there is one; what is gained beyond it.

    Options are the arguments of ``dissect.relearn``; ``on`` may name a set of facts.
    """
    result = _relearned(examined)
    try:
        if examined.retrained.model is not examined.model:
            result = result.beside(_relearned(examined.retrained))
    except Undefined:
        pass  # without a control
    return list(_estimates(result, examined.settings.seed))


def _relearned(examined: Examined) -> Relearning:
    """Relearn once for each checkpoint: the control is trained once for all that are compared with it."""
    return examined.memo(("relearning", examined.set), lambda: _relearn(examined))


def _relearn(examined: Examined) -> Relearning:
    options, settings = _by_argument(examined.settings.options), examined.settings
    if "on" in options:
        options["on"] = examined.on(options["on"]).facts
    try:
        base = {"base": examined.base.model}
    except Undefined:
        base = {}
    asking: dict[str, Any] = {
        "template": settings.template,
        "chat": settings.chat,
        "test_batch_size": settings.batch_size,
        "seed": settings.seed,
        "progress": settings.progress,
    }
    return relearn(examined.model, examined.facts, **base, **(asking | options))


def _by_argument(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return this measure's options by the argument of ``dissect.relearn`` that each of them is."""
    prefix = "relearning."
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


def _check(options: Mapping[str, Any]) -> None:
    """Refuse training settings that do not go together; those of a preset are checked with it, by ``relearn``."""
    training = {name: value for name, value in _by_argument(options).items() if name not in _ARGUMENTS}
    if training and "preset" not in training:
        make_config({"method": "learn", **training})


def _options() -> tuple[Option[Any], ...]:
    """Return the arguments of ``dissect.relearn`` and the training settings that it takes, as options."""
    settings = (setting for setting in fields(TrainConfig) if setting.name not in (*_DECIDED, *_OF_TEXTS))
    training = {setting.name: setting.default for setting in settings} | {"preset": None} | DEFAULTS
    described = [(_ARGUMENTS, "Argument of dissect.relearn."), (training, "Training setting of dissect.relearn.")]
    return tuple(
        Option(f"relearning.{name}", default, about, "as for dissect.relearn", lambda value: True)
        for defaults, about in described
        for name, default in defaults.items()
        if defaults is _ARGUMENTS or name not in _ARGUMENTS
    )


def _estimates(result: Relearning, seed: int) -> Iterator[Estimate]:
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
    options=_options(),
    check=_check,
    sets=("forget",),
    knows="high",
    slow=True,
)
