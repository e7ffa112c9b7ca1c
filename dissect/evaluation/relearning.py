"""The relearning attack: train a forgetful model on some of the facts, and ask it for others.

That a model learns again what it is trained on says nothing: so does one that never knew it. Only facts that it is
not trained on can show that something was left, and only more than a control, which never knew them, gains in the
same way, shows that it was these facts.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int, Shaped
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError
from dissect.evaluation.folds import folds_of, groups_of
from dissect.evaluation.relearned import FORMAT, MEASURES, Relearning
from dissect.metrics.token_scores import token_scores
from dissect.models.checkpoint import CheckpointInfo
from dissect.models.comparable import check_comparable
from dissect.models.exchange import check_in_memory, exchanged
from dissect.provenance import versions
from dissect.unlearning.config import TrainConfig, make_config
from dissect.unlearning.prepare import prepare
from dissect.unlearning.presets import preset
from dissect.unlearning.trainable import trained_names
from dissect.unlearning.trainer import Record, Trainer

STEPS = 50
DEFAULTS: dict[str, Any] = {"lr": 2e-5}
_OWN = {
    "max_steps": "steps",
    "stop_loss": "steps",
    "stop_perplexity_ratio": "steps",
    "retain_loss": "dissect.unlearn",
}
"""Settings of training that relearning decides itself, and where to go instead."""

Scores = dict[str, Float[np.ndarray, "step fact"]]


def relearn(
    model: Any,
    facts: Any,
    *,
    control: Any = None,
    base: Any = None,
    on: Any = None,
    steps: int | None = None,
    every: int | None = None,
    folds: int = 2,
    by: Any = "subject",
    template: str = DEFAULT_TEMPLATE,
    test_batch_size: int = 32,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Relearning:
    """Train on a part of ``facts`` and follow what that brings back of the others, which are never trained on.

    The facts are cut into ``folds``; each is held out once, while the model, as it was given, is trained on all others.
    With 2, every fact is tested after training on the other half. Facts about one subject are never on both sides.
    Only copies of the weights are trained: the models are as before afterwards, to the bit. While one trains, memory
    is that of training it and once more the weights that train.

    Args:
        model: the unlearned model, as all models here from ``dissect.load``.
        facts: ``Facts`` that it was to forget, with answers.
        control: a model that never saw the facts, trained and tested in the same way: what anybody gains by it.
        base: the model before unlearning, which is only asked, to say what there was to be recovered.
        on: train on these instead, in one fold; all ``facts`` are then tested. None of them may be about a subject or
            hold a question that is tested.
        steps: of AdamW; by default 50, or what ``epochs`` makes.
        every: steps between two tests; by default a tenth of them. The first and the last step are always tested.
        folds: 2 or more.
        by: the key in ``extra`` that says what a fact is about; None holds out single facts.
        template: for questions.
        test_batch_size: prompts tested together.
        seed: of the folds and of the order of training.
        settings: of ``TrainConfig``, such as ``lr`` (2e-5), ``batch_size`` (8), ``blocks``, ``lora_rank``, ``epochs``;
            ``preset="relearn-uds"`` is the attack of the UDS paper.

    Raises:
        DissectError: models, facts or settings that do not go together, before any training; a loss that is no longer
            finite.
    """
    models = _models(model, control, base)
    plan = _plan(model, facts, on, folds, by, template, seed, settings, steps, every)
    runs = {name: each for name, each in (("model", model), ("control", control)) if each is not None}
    found: dict[str, list[tuple[Scores, list[float]]]] = {name: [] for name in runs}
    with tqdm(total=len(runs) * plan.n_folds * plan.steps, desc="relearning", disable=not progress) as bar:
        for name, each in runs.items():
            for fold in range(plan.n_folds):
                bar.set_postfix_str(f"{name}, fold {fold + 1} of {plan.n_folds}")
                found[name].append(_followed(each, plan, fold, test_batch_size, bar))
    before = None if base is None else _tested(base, plan.prompts, test_batch_size)
    spec = plan.spec | {"models": {name: _about(each) for name, each in models.items()}}
    return Relearning(_dataset(plan, found, before, spec))


@dataclass(frozen=True)
class _Plan:
    """Everything that is decided before the first step."""

    prompts: Prompts
    """What is tested."""
    groups: Int[np.ndarray, "fact"]
    fold: Int[np.ndarray, "fact"]
    """In which each fact is held out."""
    others: Prompts | None
    """What is trained on, where it is not the facts of the other folds."""
    config: TrainConfig
    looks: tuple[int, ...]
    """The steps after which is tested."""
    spec: dict[str, Any]

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def steps(self) -> int:
        return self.looks[-1]

    def trained(self, fold: int) -> Prompts:
        """What a fold trains on: none of the facts that are held out in it."""
        return self.others if self.others is not None else self.prompts[np.flatnonzero(self.fold != fold).tolist()]


def _plan(
    model: HookedTransformer,
    facts: Any,
    on: Any,
    folds: int,
    by: Any,
    template: str,
    seed: int,
    settings: Mapping[str, Any],
    steps: int | None,
    every: int | None,
) -> _Plan:
    prompts = _prompts(model, facts, template, "facts")
    for name, value, least in (("folds", folds, 2), ("seed", seed, 0)):
        _count(name, value, least)
    if by is not None and not isinstance(by, str):
        raise DissectError(f"by={by!r}: give the key in a fact's extra that says what it is about, or None")
    groups = groups_of(facts, by)
    others = None if on is None else _prompts(model, on, template, "on")
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
    }
    return _Plan(prompts, groups, fold, others, config, looks, spec)


def _config(sizes: list[int], steps: int | None, seed: int, settings: Mapping[str, Any]) -> TrainConfig:
    named = settings.get("preset")
    given = (DEFAULTS if named is None else preset(named)) | {k: v for k, v in settings.items() if k != "preset"}
    if (method := given.pop("method", "learn" if named is None else None)) != "learn":
        what = f"method={method!r}" if "method" in settings else f"preset={named!r}"
        raise DissectError(f"{what} does not learn: use preset='relearn-uds', or single settings such as lr")
    for name, instead in _OWN.items():
        if name in given:
            raise DissectError(f"{name}={given[name]!r} is not for relearning: use {instead}")
    if steps is not None:
        _count("steps", steps, 1)
        if "epochs" in settings:
            raise DissectError(f"steps={steps} and epochs={settings['epochs']}: give one of the two")
    config = make_config({**given, "method": "learn", "seed": seed})
    per_epoch = [math.ceil(size / config.step_size) for size in sizes]
    total = steps or (config.epochs * max(per_epoch) if "epochs" in given else STEPS)
    return replace(config, max_steps=total, epochs=math.ceil(total / min(per_epoch)))


def _followed(
    model: HookedTransformer, plan: _Plan, fold: int, batch_size: int, bar: Any
) -> tuple[Scores, list[float]]:
    """Scores of all facts at the steps where they are tested, and the training loss of every step."""
    preparation = prepare(model, plan.trained(fold), plan.config)
    looks: list[Scores] = []

    def look(current: HookedTransformer, record: Record) -> None:
        bar.update(int(record["step"] > 0))
        if record["step"] in plan.looks:
            looks.append(_tested(current, plan.prompts, batch_size))

    with exchanged(model, _copies(model, plan.config), f"relearning {plan.spec} fold {fold}"):
        records = Trainer(model, preparation.data, preparation.config, callbacks=[look]).run(progress=False)
    return {name: np.stack([each[name] for each in looks]) for name in MEASURES}, [r["loss"] for r in records]


def _copies(model: HookedTransformer, config: TrainConfig) -> Iterator[tuple[str, Shaped[torch.Tensor, "..."]]]:
    """Of every parameter that trains, which writes into it."""
    for name in trained_names(model, config):
        yield name, model.get_parameter(name).data.clone(memory_format=torch.preserve_format)


def _tested(model: HookedTransformer, prompts: Prompts, batch_size: int) -> dict[str, Float[np.ndarray, "fact"]]:
    scores = token_scores(model, prompts, batch_size=batch_size)
    logprob = scores.per_row(scores.logprob)
    exact = np.array([float((ranks == 1).all()) for ranks in scores.split(scores.rank)])
    return {"probability": np.exp(logprob), "logprob": logprob, "exact_match": exact}


def _dataset(
    plan: _Plan,
    found: Mapping[str, list[tuple[Scores, list[float]]]],
    base: Mapping[str, np.ndarray] | None,
    spec: Mapping[str, Any],
) -> xr.Dataset:
    everyone = np.arange(len(plan.fold))
    variables: dict[str, Any] = {}
    for measure in MEASURES:
        # (model, fold, step, fact), of which each fact is taken from the fold that holds it out
        whole = np.stack([np.stack([scores[measure] for scores, _ in runs]) for runs in found.values()])
        variables[measure] = (("model", "step", "fact"), whole[:, plan.fold, :, everyone].transpose(1, 2, 0))
        if measure == "probability" and plan.others is None:
            trained = (whole.sum(1) - variables[measure][1]) / (plan.n_folds - 1)
            variables["trained"] = (("model", "step", "fact"), trained)
        if base is not None:
            variables[f"base_{measure}"] = ("fact", base[measure])
    losses = np.array([[losses for _, losses in runs] for runs in found.values()])
    variables["loss"] = (("model", "fold_trained", "training_step"), losses)
    coords = {
        "model": list(found),
        "step": list(plan.looks),
        "training_step": np.arange(1, plan.steps + 1),
        "fact": everyone,
        "fold": ("fact", plan.fold),
        "group": ("fact", plan.groups),
        "prompt_text": ("fact", np.array(plan.prompts.prompt_texts, dtype=str)),
        "answer_text": ("fact", np.array(plan.prompts.answer_texts, dtype=str)),
    }
    attrs = {"format": FORMAT, "spec": json.dumps(dict(spec)), "versions": json.dumps(versions())}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _models(model: Any, control: Any, base: Any) -> dict[str, HookedTransformer]:
    given = {"model": model, "control": control, "base": base}
    models = {name: each for name, each in given.items() if each is not None or name == "model"}
    for name, each in models.items():
        if not isinstance(each, HookedTransformer):
            raise DissectError(f"{name} is a {type(each).__name__}: give what dissect.load returns")
        check_in_memory(each)
        if name != "model":
            check_comparable(model, each, f"model and {name}")
    if control is not None and any(control is each for each in (model, base)):
        raise DissectError("the control knows the facts or is the model itself: give one that never saw them")
    return models


def _prompts(model: HookedTransformer, facts: object, template: str, name: str) -> Prompts:
    if not isinstance(facts, Facts):
        raise DissectError(f"{name} must be Facts, got {type(facts).__name__}: use dissect.Facts.read(path)")
    try:
        return facts.prompts(model, template=template, progress=False)
    except DissectError as error:
        raise DissectError(f"{name}: {error}") from error


def _check_apart(facts: Facts, on: Facts, by: str | None) -> None:
    """What is trained on must not be what is tested."""
    for key, what in ((lambda f: f.question or f.prompt or f.text, "text"), (lambda f: f.extra.get(by or ""), by)):
        tested = {str(key(fact)) for fact in facts if key(fact) is not None}
        both = [str(key(fact)) for fact in on if key(fact) is not None and str(key(fact)) in tested]
        if both:
            raise DissectError(
                f"{len(both)} facts to train on have the {what} of one that is tested ({both[0]!r}): leave them out"
            )


def _about(model: HookedTransformer) -> dict[str, str]:
    info = getattr(model, "checkpoint", None)
    if not isinstance(info, CheckpointInfo):
        return {}
    about = {"path": str(info.path), "fingerprint": info.fingerprint}
    return about | ({"quantised": info.quantised} if info.quantised else {})


def _count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DissectError(f"{name}={value!r}: must be a whole number of at least {least}")
