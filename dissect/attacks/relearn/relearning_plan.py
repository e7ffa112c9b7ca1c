"""The plan of a relearning attack: what it trains on and tests, settled before the first step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int
from transformer_lens import HookedTransformer

from dissect.attacks.relearn.folds import folds_of, groups_of
from dissect.data.chat.chat_settings import ChatChoice
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.train_config import TrainConfig, make_config

STEPS = 50
DEFAULTS: dict[str, Any] = {"lr": 2e-5}
_OWN = {
    "max_steps": "steps",
    "stop_loss": "steps",
    "stop_perplexity_ratio": "steps",
    "retain_loss": "dissect.unlearn",
}
"""Training settings that relearning decides itself, and what to use instead."""


@dataclass(frozen=True)
class RelearningPlan:
    """Everything that is decided before the first step."""

    prompts: Prompts
    """Prompts that are tested."""
    groups: Int[np.ndarray, " fact"]
    fold: Int[np.ndarray, " fact"]
    """Fold in which each fact is held out."""
    others: Prompts | None
    """Prompts that are trained on, where these are not the facts of the other folds."""
    config: TrainConfig
    looks: tuple[int, ...]
    """Steps after which facts are tested."""
    spec: dict[str, Any]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def steps(self) -> int:
        """Training steps in each fold."""
        return self.looks[-1]

    def trained(self, fold: int) -> Prompts:
        """Return the prompts that a fold trains on: none of the facts held out in it."""
        return self.others if self.others is not None else self.prompts[np.flatnonzero(self.fold != fold).tolist()]


def plan_of(
    model: HookedTransformer,
    facts: Any,
    on: Any,
    folds: int,
    by: Any,
    template: str,
    chat: ChatChoice,
    seed: int,
    settings: Mapping[str, Any],
    steps: int | None,
    every: int | None,
) -> RelearningPlan:
    """Check the arguments, cut the facts into folds and settle the training.

    Raises:
        DissectError: facts or settings that do not go together.
    """
    prompts = _prompts(model, facts, template, chat, "facts")
    for name, value, least in (("folds", folds, 2), ("seed", seed, 0)):
        _count(name, value, least)
    if by is not None and not isinstance(by, str):
        raise DissectError(f"by must be a key of a fact's extra that names its subject, or None, got by={by!r}")
    groups = groups_of(facts, by)
    others = None if on is None else _prompts(model, on, template, chat, "on")
    if on is not None:
        _check_apart(facts, on, by)
    fold = folds_of(groups, folds, seed=seed) if on is None else np.zeros(len(facts), dtype=np.int64)
    sizes = [len(others)] if others is not None else [int((fold != each).sum()) for each in range(folds)]
    config = _config(sizes, steps, seed, settings)
    total = int(config.max_steps or 0)
    apart = max(1, total // 10) if every is None else every
    _count("every", apart, 1)
    looks = tuple(sorted({0, *range(apart, total + 1, apart), total}))
    spec = {
        "facts": prompts.fingerprint(),
        "on": None if others is None else others.fingerprint(),
        "folds": 1 if on is not None else folds,
        "by": by,
        "template": template,
        "seed": seed,
        "steps": list(looks),
        "config": config.to_dict(),
    } | prompts.provenance()
    return RelearningPlan(prompts, groups, fold, others, config, looks, spec)


def _config(sizes: list[int], steps: int | None, seed: int, settings: Mapping[str, Any]) -> TrainConfig:
    named = settings.get("preset")
    options = (DEFAULTS if named is None else preset(named)) | {k: v for k, v in settings.items() if k != "preset"}
    if (method := options.pop("method", "learn" if named is None else None)) != "learn":
        what = f"method={method!r}" if "method" in settings else f"preset={named!r}"
        raise DissectError(f"{what} does not learn: use preset='relearn-uds', or single settings, e.g. lr")
    for name, instead in _OWN.items():
        if name in options:
            raise DissectError(f"{name}={options[name]!r} is not an option of relearning: use {instead}")
    if steps is not None:
        _count("steps", steps, 1)
        if "epochs" in settings:
            raise DissectError(f"steps={steps} and epochs={settings['epochs']} exclude each other: give one of the two")
    config = make_config({**options, "method": "learn", "seed": seed})
    per_epoch = [math.ceil(size / config.step_size) for size in sizes]
    total = steps or (config.epochs * max(per_epoch) if "epochs" in options else STEPS)
    return replace(config, max_steps=total, epochs=math.ceil(total / min(per_epoch)))


def _prompts(model: HookedTransformer, facts: object, template: str, chat: ChatChoice, name: str) -> Prompts:
    if not isinstance(facts, Facts):
        raise DissectError(f"{name} must be Facts, got {type(facts).__name__}: use dissect.Facts.read(path)")
    try:
        return facts.prompts(model, template=template, chat=chat, progress=False)
    except DissectError as error:
        raise DissectError(f"{name}: {error}") from error


def _check_apart(facts: Facts, on: Facts, by: str | None) -> None:
    """Refuse facts to train on that are among those tested."""
    for key, what in ((lambda f: f.question or f.prompt or f.text, "text"), (lambda f: f.extra.get(by or ""), by)):
        tested = {str(key(fact)) for fact in facts if key(fact) is not None}
        both = [str(key(fact)) for fact in on if key(fact) is not None and str(key(fact)) in tested]
        if both:
            raise DissectError(
                f"{len(both)} facts to train on have the {what} of one that is tested ({both[0]!r}): leave them out"
            )


def _count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DissectError(f"{name} must be a whole number of at least {least}, got {name}={value!r}")
