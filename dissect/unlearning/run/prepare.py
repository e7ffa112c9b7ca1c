"""Checks of the data and tokenising, before the first step."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from transformer_lens import HookedTransformer

from dissect.data.chat.chat_settings import as_chat
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.sharding.sharded import is_sharded
from dissect.unlearning.alternates import alternates
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.focus import Spans, focus_weights
from dissect.unlearning.gradient.training_data import Augment, TrainingData
from dissect.unlearning.losses.flat_rows import IGNORED
from dissect.unlearning.methods import METHODS, having
from dissect.unlearning.parameters.trainable import check_trainable


@dataclass(frozen=True)
class Preparation:
    """A run that can begin: its data and settings, checked."""

    data: TrainingData
    config: TrainConfig
    """The configuration, with everything decided that depends on the data."""
    fingerprints: dict[str, str | None]
    """Fingerprint of each part of the data."""


def prepare(
    model: HookedTransformer,
    forget: Facts | Prompts,
    config: TrainConfig,
    *,
    retain: Facts | Prompts | None = None,
    alternate: Sequence[str] | None = None,
    monitor: Facts | Prompts | None = None,
    teacher: HookedTransformer | None = None,
    focus_spans: Spans | None = None,
    augment: Augment | None = None,
) -> Preparation:
    """Tokenise the data, and refuse data and settings that do not go together.

    Raises:
        DissectError: the first thing that is wrong.
    """
    method = METHODS[config.method]
    config = _with_retain(config, retain is not None)
    config = _with_layer(config, model)
    check_trainable(model, config)
    _check_extras(config, alternate, teacher, focus_spans, augment)
    if method.variants and method.variants[config.variant].index_minus_100 and model.cfg.d_vocab_out < -IGNORED:
        raise DissectError(
            f"variant={config.variant!r} lowers token d_vocab - {-IGNORED}, and the vocabulary has "
            f"{model.cfg.d_vocab_out}: use variant={next(iter(method.variants))!r}"
        )
    if (method.perturbs or method.negates) and is_sharded(model):
        raise DissectError(f"method {config.method!r} changes whole weights: load the model without a mesh")
    if teacher is not None and teacher.cfg.d_vocab_out != model.cfg.d_vocab_out:
        raise DissectError(
            f"the teacher must have the model's vocabulary of {model.cfg.d_vocab_out} tokens, and has "
            f"{teacher.cfg.d_vocab_out}: choose another"
        )
    if teacher is not None and method.sees == "states" and teacher.cfg.d_model != model.cfg.d_model:
        raise DissectError(
            f"the teacher must have the model's width of {model.cfg.d_model}, and has {teacher.cfg.d_model}: choose "
            "another"
        )
    sets = {"forget": forget, "retain": retain, "monitor": monitor}
    config = _with_chat(config, {name: each for name, each in sets.items() if isinstance(each, Prompts)})
    prompts = _prompts(forget, model, "forget", config)
    retained = None if retain is None else _prompts(retain, model, "retain", config)
    if int(prompts.answer_lengths.max()) <= method.skips:
        raise DissectError(
            f"{method.name} skips the first {method.skips} token of each answer, and no answer is longer"
        )
    preferred = alternates(prompts, model, answers=alternate, seed=config.seed) if method.alternates else None
    monitored = retained if monitor is None else _prompts(monitor, model, "monitor", config)
    asked = prompts, monitored if retained is None else retained  # whatever the method trains on
    if method.perturbs and retained is not None:
        prompts, retained = retained, None
    if method.replaces and preferred is not None:
        prompts, preferred = preferred, None
    weights = None
    if config.focus != "none":
        outside, inside = (1.0, config.focus_weight) if config.focus == "soft" else (0.0, 1.0)
        weights = focus_weights(prompts, focus_spans, inside=inside, outside=outside)
    if config.stop_perplexity_ratio is not None and monitored is None:
        raise DissectError("stop_perplexity_ratio needs texts to measure perplexity on: give monitor= or retain=")
    needing = {"lr='auto'": config.lr == "auto", "stop_retain": config.stop_retain is not None}
    for name in (name for name, needed in needing.items() if needed and monitored is None):
        raise DissectError(
            f"{name} needs facts that are to be kept: give retain=, or monitor= where nothing trains on them"
        )
    data = TrainingData(prompts, retained, preferred, weights, monitored, augment, asked)
    named = {"forget": prompts, "retain": retained, "alternate": preferred, "monitor": monitored}
    fingerprints = {name: None if each is None else each.fingerprint() for name, each in named.items()}
    focus = None if weights is None else hashlib.sha256(weights.numpy().tobytes()).hexdigest()
    # a function is known by its name alone
    named_augment = None if augment is None else f"{augment.__module__}.{getattr(augment, '__qualname__', augment)}"
    return Preparation(data, config, fingerprints | {"focus": focus, "augment": named_augment})


def _with_retain(config: TrainConfig, has_retain: bool) -> TrainConfig:
    """Set the retain loss where retained facts are given, and refuse either without the other."""
    method = METHODS[config.method]
    if method.retain == "none" and has_retain:
        example = next(each.name for each in METHODS.values() if each.retain == "required")
        raise DissectError(
            f"method {method.name!r} uses no retained facts: leave retain out, or use method={example!r}"
        )
    if not has_retain and (method.retain == "required" or config.retain_loss is not None):
        needs = f"method {method.name!r}" if method.retain == "required" else f"retain_loss={config.retain_loss!r}"
        raise DissectError(f"{needs} needs retained facts: give retain=")
    if method.perturbs:
        return config
    default: Literal["states", "nll"] = "states" if method.sees == "states" else "nll"
    return replace(config, retain_loss=default) if has_retain and config.retain_loss is None else config


def _with_layer(config: TrainConfig, model: HookedTransformer) -> TrainConfig:
    """Set the layer whose states are steered, and refuse one that the model does not have."""
    if METHODS[config.method].sees != "states":
        return config
    n_layers = model.cfg.n_layers
    layer = min(7, n_layers // 2) if config.steering_layer is None else config.steering_layer
    if layer >= n_layers:
        raise DissectError(f"steering_layer={layer}: the model has layers 0 to {n_layers - 1}: choose one of them")
    return replace(config, steering_layer=layer)


def _check_extras(
    config: TrainConfig,
    alternate: Sequence[str] | None,
    teacher: HookedTransformer | None,
    focus_spans: Spans | None,
    augment: Augment | None,
) -> None:
    """Refuse arguments that the configured method does not use."""
    method = METHODS[config.method]
    if isinstance(alternate, str):
        raise DissectError(f"alternate must be a list with one answer for each forget fact, got {alternate!r}")
    if alternate is not None and not method.alternates:
        owners = having(lambda each: each.alternates)
        raise DissectError(f"alternate answers are for method {owners}, got {method.name!r}: leave them out")
    if focus_spans is not None and config.focus == "none":
        raise DissectError("focus_spans without focus: set focus='soft' or 'hard'")
    if teacher is not None and method.reference is None and config.retain_loss not in ("kl", "states"):
        raise DissectError(f"method {method.name!r} compares with no other model: leave teacher out")
    if augment is not None and (method.reference is not None or config.adaptive) and config.reference != "live":
        raise DissectError("augment changes the texts at every step: keep the reference with reference='live'")
    if augment is not None and (method.alternates or config.focus != "none"):
        raise DissectError("augment changes the texts, to which alternate answers and focus belong: leave one out")


def _with_chat(config: TrainConfig, sets: Mapping[str, Prompts]) -> TrainConfig:
    """Return the configuration with the chat format of the prompts that were given, to be kept with the run.

    Raises:
        DissectError: prompts in different chat formats.
    """
    formats = {name: prompts.chat.to_dict() for name, prompts in sets.items() if prompts.chat is not None}
    for name, settings in formats.items():
        wanted = as_chat(config.chat)
        if wanted is not None and wanted != as_chat(settings):
            raise DissectError(
                f"{name}: its prompts must stand in the chat format of the other texts ({config.chat}), and stand in "
                f"{settings}: make them alike, or give facts"
            )
        config = replace(config, chat=settings)
    return config


def _prompts(facts: Facts | Prompts, model: HookedTransformer, name: str, config: TrainConfig) -> Prompts:
    """Tokenise one set of facts, and refuse what could not be trained on."""
    tokenising: dict[str, Any] = {"chat": config.chat, "stride": config.stride, "progress": False}
    tokenising["max_length"] = config.max_length or model.cfg.n_ctx
    try:
        prompts = facts if isinstance(facts, Prompts) else Facts(facts).prompts(model, **tokenising)
    except DissectError as error:
        raise DissectError(f"{name}: {error}") from error
    if len(prompts) == 0:
        raise DissectError(f"{name}: there are no facts: give at least one")
    empty = (prompts.answer_lengths == 0).nonzero().flatten().tolist()
    if empty:
        raise DissectError(f"{name}: no token of fact {empty[0]} is scored: give it an answer")
    if int(prompts.lengths.max()) > model.cfg.n_ctx:
        raise DissectError(
            f"{name}: texts must fit into the context of {model.cfg.n_ctx} tokens, and one has "
            f"{int(prompts.lengths.max())}: shorten it"
        )
    return prompts
