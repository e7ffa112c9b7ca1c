"""Reading the states of every layer as if they were the last: what logit lens and tuned lens share.

A lens is a function of (layer, states) that gives logits. Nothing but the scores of the answer's tokens is kept: the
logits of one layer at some thousand positions at most exist at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.metrics.measure import Estimate, Measure, Undefined, mean_of
from dissect.metrics.metric import Scored
from dissect.metrics.rank import rank
from dissect.metrics.subject import Subject
from dissect.models.forward import embed
from dissect.models.partial import run_block

K = 10
"""How many of the most likely tokens count as within reach."""
SETS = ("forget", "retain", "paraphrased", "held_out")
LOGITS_AT_ONCE = 1 << 25
"""Entries of the logits that are computed at a time: 128 MB in float32."""

Lens = Callable[[int, Float[Tensor, "scored d_model"]], Float[Tensor, "scored d_vocab"]]
"""From the layer and its output to logits in float32 at least."""


@dataclass(frozen=True)
class LayerScores:
    """What a lens gives to the answer's tokens after each layer: one entry a token, prompt after prompt."""

    row: Int[np.ndarray, "token"]
    """The prompt that each token belongs to."""
    logprob: Float[np.ndarray, "layer token"]
    """log p_l(y), in nats."""
    rank: Shaped[np.ndarray, "layer token"]
    """Place of y by falling logit, from 1."""
    entropy: Float[np.ndarray, "layer token"]
    """Of p_l, in nats."""
    n_rows: int

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return len(self.logprob)

    def per_row(self, values: Shaped[np.ndarray, "*layer token"]) -> Float[np.ndarray, "*layer prompt"]:
        """Mean of ``values`` over the tokens of each prompt."""
        starts = np.searchsorted(self.row, np.arange(self.n_rows))
        counts = np.diff(np.append(starts, len(self.row)))
        return np.add.reduceat(values.astype(np.float64), starts, axis=-1) / counts

    def first_layer(self, k: int) -> Float[np.ndarray, "token"]:
        """The first layer after which y is among the ``k`` most likely; ``n_layers`` where it never is."""
        within = self.rank <= k
        return np.where(within.any(0), within.argmax(0), self.n_layers).astype(np.float64)


def states_by_layer(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"], where: Bool[Tensor, "batch pos"]
) -> Iterator[Float[Tensor, "scored d_model"]]:
    """The residual stream after each layer at the positions ``where``, row by row; one layer in memory at a time."""
    residual = embed(model, tokens)
    for block in model.blocks:
        residual = run_block(block, residual)
        yield residual[where]


@torch.no_grad()
def layer_scores(model: HookedTransformer, prompts: Prompts, lens: Lens, *, batch_size: int = 32) -> LayerScores:
    """Read ``model`` through ``lens`` wherever a token of an answer is predicted."""
    device, at_once = model.embed.W_E.device, max(1, LOGITS_AT_ONCE // model.cfg.d_vocab)
    batches: list[list[np.ndarray]] = []
    for part in prompts.batches(batch_size):
        where, targets = part.predicting_mask.to(device), part.tokens[part.answer_mask].to(device)
        layers = []
        for layer, states in enumerate(states_by_layer(model, part.tokens.to(device), where)):
            pieces = zip(states.split(at_once), targets.split(at_once), strict=True)
            layers.append(np.concatenate([_scores(lens(layer, some), wanted) for some, wanted in pieces], axis=1))
        batches.append(layers)
    logprob, ranks, entropy = np.concatenate([np.stack(layers, axis=1) for layers in batches], axis=2)
    rows = prompts.predicting_mask.nonzero()[:, 0].numpy()
    return LayerScores(rows, logprob, ranks, entropy, len(prompts))


def _scores(logits: Float[Tensor, "scored d_vocab"], targets: Int[Tensor, "scored"]) -> Float[np.ndarray, "3 scored"]:
    """Log-probability and rank of the targets, and entropy."""
    logs = logits.log_softmax(-1)
    own = logs.gather(-1, targets[:, None])[:, 0]
    places = rank(Scored(logits=logits, reference=logits, targets=targets))
    # a token of probability 0 adds nothing, and -inf times 0 would be NaN
    entropy = torch.special.entr(logs.exp()).sum(-1)
    return torch.stack([column.double() for column in (own, places, entropy)]).cpu().numpy()


def by_layer(values: Float[np.ndarray, "layer prompt"], subject: Subject) -> Sequence[Estimate]:
    """Mean over facts of each layer."""
    return [mean_of(row, seed=subject.settings.seed, layer=layer) for layer, row in enumerate(values)]


def top_k(subject: Subject, name: str) -> int:
    """``<name>.k``.

    Raises:
        Undefined: no whole number from 1 on.
    """
    k = subject.option(f"{name}.k", K)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise Undefined(f"{name}.k={k!r}: a whole number from 1 on, such as {K}")
    return k


def lens_measures(
    name: str, label: str, about: str, scores: Callable[[Subject], LayerScores], *, slow: bool = False
) -> tuple[Measure, ...]:
    """The five measures of a lens: four curves over the layers, and the layer from which the answer is within reach.

    Args:
        name: they are called ``<name>_logprob`` and so on.
        about: what the lens is, to begin their definitions with.
    """

    def logprob(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.logprob), subject)

    def ranks(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.rank), subject)

    def within(subject: Subject) -> Sequence[Estimate]:
        found, k = scores(subject), top_k(subject, name)
        return by_layer(found.per_row(found.rank <= k), subject)

    def entropy(subject: Subject) -> Sequence[Estimate]:
        found = scores(subject)
        return by_layer(found.per_row(found.entropy), subject)

    def first(subject: Subject) -> Estimate:
        found, k = scores(subject), top_k(subject, name)
        return mean_of(found.per_row(found.first_layer(k)), seed=subject.settings.seed)

    def measure(
        kind: str, what: str, compute: Callable[[Subject], Estimate | Sequence[Estimate]], says: str, knows: str
    ) -> Measure:
        return Measure(
            name=f"{name}_{kind}",
            label=f"{label}: {what}",
            definition=f"{about}; {says}",
            family="depth",
            compute=compute,
            sets=SETS,
            knows=knows,  # type: ignore[arg-type]
            slow=slow,
        )

    reach = f"the {K} most likely ({name}.k)"
    return (
        measure("logprob", "log-probability (nats)", logprob, "mean log-probability of an answer token, nats", "high"),
        measure("rank", "rank", ranks, "mean rank of an answer token in the vocabulary, 1: most likely", "low"),
        measure("top_k", "share within reach", within, f"share of the answer's tokens among {reach}", "high"),
        measure("entropy", "entropy (nats)", entropy, "mean entropy of the distribution, nats", ""),
        measure(
            "first_layer",
            "first layer within reach",
            first,
            f"the first layer, counted from 0, after which an answer token is among {reach}, mean over tokens; the "
            "number of layers where it never is",
            "low",
        ),
    )
