"""The relearning attack: train an unlearned model on some of the facts, and ask it for others.

A model relearns what it is trained on whether or not it ever knew it. Only facts that it is not trained on can show
that something was left, and only a gain above that of a control, which never knew them, shows that it was these facts.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Shaped
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.attacks.relearn.relearned import MEASURES, Relearning
from dissect.attacks.relearn.relearning_plan import RelearningPlan, plan_of
from dissect.data.chat.chat_settings import ChatChoice
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.changing.exchange import check_in_memory, exchanged
from dissect.models.checkpoint import CheckpointInfo, checkpoint_or_none
from dissect.models.comparable import check_comparable
from dissect.provenance import versions
from dissect.reading.token_scores import token_scores
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.parameters.trainable import trained_names
from dissect.unlearning.run.prepare import prepare
from dissect.unlearning.run.trainer import Record, Trainer

FoldScores = dict[str, Float[np.ndarray, "step fact"]]


@keywords()
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
    chat: ChatChoice = None,
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
        control: a model that never saw the facts, trained and tested in the same way.
        base: the model before unlearning, tested only: it says how much there is to recover.
        on: facts to train on instead, in one fold; all ``facts`` are then tested. None of them may share a subject or
            question with those.
        steps: steps of AdamW; by default 50, or as many as ``epochs`` take.
        every: steps between two tests; by default a tenth of them. The first and the last step are always tested.
        folds: 2 or more.
        by: key in ``extra`` that names what a fact is about; None holds out single facts.
        template: template for questions; in a chat, it stands in the user's turn.
        chat: train and test in the checkpoint's own chat template, as ``chat`` of ``Facts.prompts``.
        test_batch_size: prompts tested together.
        seed: seed of the folds and of the training order.
        settings: fields of ``TrainConfig``, e.g. ``lr`` (2e-5), ``batch_size`` (8), ``blocks``, ``lora_rank``,
            ``epochs``; ``preset="relearn-uds"`` is the attack of the UDS paper.

    Raises:
        DissectError: models, facts or settings that do not go together, before any training; a loss that is no longer
            finite.

    Example:
        >>> model = dissect.load("runs/demo/npo")
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> dissect.relearn(model, forget, steps=2, every=1)
        Relearning(model; ... held-out facts, steps 0 to 2)
        ...
    """
    models = _models(model, control, base)
    plan = plan_of(model, facts, on, folds, by, template, chat, seed, settings, steps, every)
    runs = {name: each for name, each in (("model", model), ("control", control)) if each is not None}
    scores: dict[str, list[tuple[FoldScores, list[float]]]] = {name: [] for name in runs}
    with tqdm(total=len(runs) * plan.n_folds * plan.steps, desc="relearning", disable=not progress) as bar:
        for name, each in runs.items():
            for fold in range(plan.n_folds):
                bar.set_postfix_str(f"{name}, fold {fold + 1} of {plan.n_folds}")
                scores[name].append(_followed(each, plan, fold, test_batch_size, bar))
    before = None if base is None else _tested(base, plan.prompts, test_batch_size)
    spec = plan.spec | {"models": {name: _about(each) for name, each in models.items()}}
    return Relearning(_dataset(plan, scores, before, spec))


def _followed(
    model: HookedTransformer, plan: RelearningPlan, fold: int, batch_size: int, bar: Any
) -> tuple[FoldScores, list[float]]:
    """Return scores of all facts at the steps where they are tested, and the training loss of every step."""
    preparation = prepare(model, plan.trained(fold), plan.config)
    looks: list[FoldScores] = []

    def look(current: HookedTransformer, record: Record) -> None:
        bar.update(int(record["step"] > 0))
        if record["step"] in plan.looks:
            looks.append(_tested(current, plan.prompts, batch_size))

    with exchanged(model, _copies(model, plan.config), f"relearning {plan.spec} fold {fold}"):
        records = Trainer(model, preparation.data, preparation.config, callbacks=[look]).run(progress=False)
    return {name: np.stack([each[name] for each in looks]) for name in MEASURES}, [r["loss"] for r in records]


def _copies(model: HookedTransformer, config: TrainConfig) -> Iterator[tuple[str, Shaped[torch.Tensor, "..."]]]:
    """Yield a copy of every parameter that trains: training writes into the copy."""
    for name in trained_names(model, config):
        yield name, model.get_parameter(name).data.clone(memory_format=torch.preserve_format)


def _tested(model: HookedTransformer, prompts: Prompts, batch_size: int) -> dict[str, Float[np.ndarray, " fact"]]:
    scores = token_scores(model, prompts, batch_size=batch_size)
    logprob = scores.per_row(scores.logprob)
    exact = np.array([float((ranks == 1).all()) for ranks in scores.split(scores.rank)])
    return {"probability": np.exp(logprob), "logprob": logprob, "exact_match": exact}


def _dataset(
    plan: RelearningPlan,
    found: Mapping[str, list[tuple[FoldScores, list[float]]]],
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
    attrs = {"format": Relearning.FORMAT, "spec": json.dumps(dict(spec)), "versions": json.dumps(versions())}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _models(model: Any, control: Any, base: Any) -> dict[str, HookedTransformer]:
    sources = {"model": model, "control": control, "base": base}
    models = {name: each for name, each in sources.items() if each is not None or name == "model"}
    for name, each in models.items():
        if not isinstance(each, HookedTransformer):
            raise DissectError(f"{name} must be a model from dissect.load, got {type(each).__name__}")
        check_in_memory(each)
        if name != "model":
            check_comparable(model, each, f"model and {name}")
    if control is not None and any(control is each for each in (model, base)):
        raise DissectError("the control must be a model that never saw the facts, got the model or its base")
    return models


def _about(model: HookedTransformer) -> dict[str, str]:
    info = checkpoint_or_none(model)
    if not isinstance(info, CheckpointInfo):
        return {}
    about = {"path": str(info.path), "fingerprint": info.fingerprint}
    return about | ({"quantised": info.quantised} if info.quantised else {})
