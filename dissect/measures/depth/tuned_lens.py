"""Tuned lens (Belrose et al. 2023): a logit lens whose states are first translated into those of the last layer.

The translators are fitted on the base model alone and then frozen: fitted on an unlearned model they would learn anew
to read what unlearning stopped it from reading. They see tokens of the retained and unrelated facts, and of the texts
in the option ``tuned_lens.texts``; never a row that is one of the facts to be forgotten. A fifth of the facts of each
set is held out, and ``tuned_lens_kl`` says on them how much better than the logit lens it reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from transformer_lens import HookedTransformer

from dissect.data.facts import Fact, Facts
from dissect.data.prompts import Prompts
from dissect.errors import Undefined
from dissect.measures.depth.lens_measures import lens_measures
from dissect.measures.depth.logit_lens_measures import fixed_head
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option, whole_number
from dissect.reading.layer_lens import LOGITS_AT_ONCE, LayerScores, Lens, layer_scores, logit_lens, states_by_layer
from dissect.reading.residual_states import drawn, states
from dissect.reading.tuned_lens_fit import FitSettings, TunedLens, fit
from dissect.undoing.gradient_mode import without_gradients

SOURCES = ("retain", "unrelated")
"""The sets that it is fitted on, where they were given."""
HELD_OUT = 0.2
STEPS = whole_number("tuned_lens.steps", FitSettings.steps, "Steps of the fit.", least=0)
MAX_TOKENS = whole_number("tuned_lens.max_tokens", 8192, "Number of tokens that the lens is fitted on, at most.")
"""Their states after every layer are in memory together, in float32."""
TEXTS: Option[Sequence[str]] = Option(
    "tuned_lens.texts",
    (),
    "Further texts to fit the lens on.",
    "a list of texts",
    lambda texts: not isinstance(texts, str) and all(isinstance(text, str) for text in texts),
)


@dataclass(frozen=True)
class Fitted:
    """A lens, and the facts of each set that it has not seen."""

    lens: TunedLens
    held_out: Mapping[str, Prompts]
    n_tokens: int
    """That it was fitted on."""


def tuned_lens(head: HookedTransformer, lens: TunedLens) -> Lens:
    """The translators, then the final norm, unembedding and soft cap of ``head``."""
    read = logit_lens(head)

    def translated(layer: int, states: Float[Tensor, "scored d_model"]) -> Float[Tensor, "scored d_vocab"]:
        return read(layer, lens.translated(layer, states))

    return translated


def fitted(base: Examined) -> Fitted:
    """The lens of the base model; fitted once for all checkpoints and sets.

    Raises:
        Undefined: nothing to fit it on, or an option that makes no sense.
    """
    return base.memo("tuned_lens", lambda: _fitted(base))


def _fitted(base: Examined) -> Fitted:
    settings = FitSettings(steps=base.option(STEPS), seed=base.settings.seed, progress=base.settings.progress)
    limit = base.option(MAX_TOKENS)
    seen, held_out = _material(base)
    share, parts = max(1, limit // len(seen)), []
    for prompts in seen:
        mask = _behind_the_first(prompts)
        rows = torch.as_tensor(drawn(mask.sum(1).numpy(), share, seed=settings.seed))
        if len(rows):
            sample = prompts[rows]
            mask = _behind_the_first(sample)
            parts.append(states(base.model, sample, mask, batch_size=base.settings.batch_size).values)
    if not parts:
        raise Undefined(f"tuned_lens.max_tokens={limit}: fewer than the shortest text has")
    values = torch.from_numpy(np.concatenate(parts, axis=1)).to(base.device)
    return Fitted(fit(base.model, values, settings), held_out, values.shape[1])


def _material(base: Examined) -> tuple[list[Prompts], dict[str, Prompts]]:
    """Return the prompts that the lens is fitted on, and by set those held out."""
    forgotten = set(base.on("forget").prompts.texts) if "forget" in base.sets else set()
    seen, held_out = [], {}
    for name in SOURCES:
        if name not in base.sets:
            continue
        prompts = base.on(name).prompts
        rows = np.array([row for row, text in enumerate(prompts.texts) if text not in forgotten], dtype=np.int64)
        order = np.random.default_rng(base.settings.seed).permutation(rows)
        n_held = round(HELD_OUT * len(order))
        if n_held:
            held_out[name] = prompts[np.sort(order[:n_held]).tolist()]
        if len(order) > n_held:
            seen.append(prompts[np.sort(order[n_held:]).tolist()])
    if texts := base.option(TEXTS):
        seen.append(base.prompted(Facts(Fact(text=text) for text in texts)))
    if not seen:
        raise Undefined(
            "a tuned lens is fitted on other facts than those to be forgotten, and none were given: pass retain=..., "
            "unrelated=..., or texts as the option tuned_lens.texts"
        )
    return seen, held_out


def _behind_the_first(prompts: Prompts) -> Bool[Tensor, "prompt pos"]:
    """Every token but the first, whose states are unlike all others (attention sinks) and which predicts little."""
    places = torch.arange(prompts.tokens.shape[1])
    return (places >= 1) & (places < prompts.lengths[:, None])


def scores_of(examined: Examined) -> LayerScores:
    """The answers of the checkpoint's facts, read off its states with the base model's lens; computed once."""
    head = fixed_head(examined)
    lens = tuned_lens(head, fitted(examined.base).lens)
    return examined.memo(
        ("tuned_lens", examined.set, id(head)),
        lambda: layer_scores(examined.model, examined.prompts, lens, batch_size=examined.settings.batch_size),
    )


@without_gradients()
def lens_kl(
    model: HookedTransformer, prompts: Prompts, lens: Lens, *, batch_size: int = 32
) -> Float[np.ndarray, "layer prompt"]:
    """KL(p_final ‖ p_lens) in nats, of the model's own output against the lens on its states; mean over the answer."""
    own, device = logit_lens(model), model.embed.W_E.device
    divergences: list[Float[np.ndarray, "layer batch"]] = []
    for part in prompts.batches(batch_size):
        where = part.predicting_mask
        layers = list(states_by_layer(model, part.tokens.to(device), where.to(device)))
        rows = where.nonzero()[:, 0]
        total = torch.zeros(len(layers), len(part), dtype=torch.float64)
        at_once = max(1, LOGITS_AT_ONCE // model.cfg.d_vocab)
        for piece in torch.arange(len(rows)).split(at_once):
            target = own(len(layers) - 1, layers[-1][piece]).log_softmax(-1)
            for layer, state in enumerate(layers):
                logs = lens(layer, state[piece]).log_softmax(-1)
                kl = functional.kl_div(logs, target, log_target=True, reduction="none").sum(-1)
                total[layer].index_add_(0, rows[piece], kl.double().cpu())
        divergences.append((total / part.answer_lengths).numpy())
    return np.concatenate(divergences, axis=1)


def tuned_lens_kl(examined: Examined) -> Sequence[Estimate]:
    """KL divergence of the tuned and of the logit lens, by layer, on facts that the lens was not fitted on."""
    head, made = fixed_head(examined), fitted(examined.base)
    if examined.set in SOURCES and examined.set not in made.held_out:
        raise Undefined("too few facts to hold some out: give at least 3")
    prompts = made.held_out[examined.set] if examined.set in SOURCES else examined.prompts
    lenses = {"tuned": tuned_lens(head, made.lens), "logit": logit_lens(head)}
    return [
        mean_of(row, layer=layer, lens=name)
        for name, lens in lenses.items()
        for layer, row in enumerate(lens_kl(examined.model, prompts, lens, batch_size=examined.settings.batch_size))
    ]


_ABOUT = (
    "tuned lens (Belrose et al. 2023) fitted on the base model with other facts than those to be forgotten, then "
    "frozen: the residual stream after each layer, where the answer's tokens are predicted, translated and read with "
    "the base model's final norm and unembedding"
)
MEASURES: Sequence[Measure] = (
    *lens_measures("tuned_lens", "tuned lens", _ABOUT, scores_of, options=(STEPS, MAX_TOKENS, TEXTS), slow=True),
    Measure(
        name="tuned_lens_kl",
        label="what the lens misses (nats)",
        definition=(
            "KL divergence from the model's own output to what the lens reads off its states, where answers are "
            "predicted, on facts that the lens was not fitted on; of the base model it says how good the lens is, "
            "beside the logit lens (lens: tuned or logit)"
        ),
        family="depth",
        compute=tuned_lens_kl,
        options=(STEPS, MAX_TOKENS, TEXTS),
        sets=("forget", *SOURCES),
        slow=True,
    ),
)
