"""Everything that is checked, and every text that is tokenised, before the first step."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.unlearning.alternates import alternates
from dissect.unlearning.config.choices import COMPARING
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.focus import Spans, focus_weights
from dissect.unlearning.gradient.micro import Augment, Data
from dissect.unlearning.gradient.objective import CEU_SKIPS
from dissect.unlearning.parameters.trainable import check_trainable


@dataclass(frozen=True)
class Preparation:
    """A run that can begin."""

    data: Data
    config: TrainConfig
    """With everything decided that depends on the data."""
    fingerprints: dict[str, str | None]
    """Of each part of the data."""


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
    """Tokenise the data, and refuse what does not go together.

    Raises:
        DissectError: the first thing that does not.
    """
    config = _with_retain(config, retain is not None)
    check_trainable(model, config)
    _check_extras(config, alternate, teacher, focus_spans, augment)
    if config.variant == "open_unlearning" and model.cfg.d_vocab_out < 100:
        raise DissectError(
            f"variant='open_unlearning' lowers token d_vocab - 100, the vocabulary has {model.cfg.d_vocab_out}: "
            "use variant='masked'"
        )
    if teacher is not None and teacher.cfg.d_vocab_out != model.cfg.d_vocab_out:
        raise DissectError(
            f"the teacher has {teacher.cfg.d_vocab_out} tokens, the model {model.cfg.d_vocab_out}: give one with the "
            "same vocabulary"
        )
    prompts = _prompts(forget, model, "forget")
    kept = None if retain is None else _prompts(retain, model, "retain")
    if config.method == "ceu" and int(prompts.answer_lengths.max()) <= CEU_SKIPS:
        raise DissectError(f"ceu leaves the first {CEU_SKIPS} token of each answer out, and no answer is longer")
    preferred = alternates(prompts, model, answers=alternate, seed=config.seed) if config.method == "dpo" else None
    weights = None
    if config.focus != "none":
        outside, inside = (1.0, config.focus_weight) if config.focus == "soft" else (0.0, 1.0)
        weights = focus_weights(prompts, focus_spans, inside=inside, outside=outside)
    watched = kept if monitor is None else _prompts(monitor, model, "monitor")
    if config.stop_perplexity_ratio is not None and watched is None:
        raise DissectError("stop_perplexity_ratio needs texts: give monitor=, or retained facts")
    data = Data(prompts, kept, preferred, weights, watched, augment)
    named = {"forget": prompts, "retain": kept, "alternate": preferred, "monitor": watched}
    fingerprints = {name: None if part is None else part.fingerprint() for name, part in named.items()}
    focus = None if weights is None else hashlib.sha256(weights.numpy().tobytes()).hexdigest()
    # a function is known by its name alone
    named_augment = None if augment is None else f"{augment.__module__}.{getattr(augment, '__qualname__', augment)}"
    return Preparation(data, config, fingerprints | {"focus": focus, "augment": named_augment})


def _with_retain(config: TrainConfig, given: bool) -> TrainConfig:
    if config.method == "ga" and given:
        raise DissectError("method 'ga' uses no retained facts: leave retain out, or use method='grad_diff'")
    if not given and (config.method == "grad_diff" or config.retain_loss is not None):
        what = "method 'grad_diff'" if config.method == "grad_diff" else f"retain_loss={config.retain_loss!r}"
        raise DissectError(f"{what} needs retained facts: give retain=")
    return replace(config, retain_loss="nll") if given and config.retain_loss is None else config


def _check_extras(
    config: TrainConfig,
    alternate: Sequence[str] | None,
    teacher: HookedTransformer | None,
    focus_spans: Spans | None,
    augment: Augment | None,
) -> None:
    if isinstance(alternate, str):
        raise DissectError(f"alternate={alternate!r}: give a list with one answer for each forget fact")
    if alternate is not None and config.method != "dpo":
        raise DissectError(f"alternate answers are for method 'dpo', got {config.method!r}: leave them out")
    if focus_spans is not None and config.focus == "none":
        raise DissectError("focus_spans without focus: set focus='soft' or 'hard'")
    if teacher is not None and config.method not in COMPARING and config.retain_loss != "kl":
        raise DissectError(f"method {config.method!r} compares with no other model: leave teacher out")
    if augment is not None and config.method in COMPARING and config.reference != "live":
        raise DissectError("augment changes the texts at every step: keep the reference with reference='live'")
    if augment is not None and (config.method == "dpo" or config.focus != "none"):
        raise DissectError("augment changes the texts, to which alternate answers and focus belong: leave one out")


def _prompts(given: Facts | Prompts, model: HookedTransformer, name: str) -> Prompts:
    try:
        prompts = given if isinstance(given, Prompts) else Facts(given).prompts(model, progress=False)
    except DissectError as error:
        raise DissectError(f"{name}: {error}") from error
    if len(prompts) == 0:
        raise DissectError(f"{name}: there are no facts: give at least one")
    empty = (prompts.answer_lengths == 0).nonzero().flatten().tolist()
    if empty:
        raise DissectError(f"{name}: nothing of fact {empty[0]} is scored: its answer has no token")
    if int(prompts.lengths.max()) > model.cfg.n_ctx:
        raise DissectError(
            f"{name}: a text of {int(prompts.lengths.max())} tokens is longer than the context of {model.cfg.n_ctx}"
        )
    return prompts
