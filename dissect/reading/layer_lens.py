"""Reading the states of every layer as if they were the last: what logit lens and tuned lens share.

A lens is a function of (layer, states) that gives logits. Nothing but the scores of the answer's tokens is kept: the
logits of one layer at some thousand positions at most exist at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.metrics.metric import Scored
from dissect.metrics.rank import rank
from dissect.models.running.forward import embed, read_out
from dissect.models.running.partial import run_block
from dissect.undoing.gradient_mode import without_gradients

LOGITS_AT_ONCE = 1 << 25
"""Entries of the logits that are computed at a time: 128 MB in float32."""

Lens = Callable[[int, Float[Tensor, "scored d_model"]], Float[Tensor, "scored d_vocab"]]
"""From the layer and its output to logits in float32 at least."""


def logit_lens(head: HookedTransformer) -> Lens:
    """The lens with the final norm, unembedding and soft cap of ``head``."""

    def read(layer: int, states: Float[Tensor, "scored d_model"]) -> Float[Tensor, "scored d_vocab"]:
        return read_out(head, states[None])[0]

    return read


@dataclass(frozen=True)
class LayerScores:
    """Scores of the answer's tokens under a lens after each layer: one entry a token, prompt after prompt."""

    row: Int[np.ndarray, " token"]
    """The prompt that each token belongs to."""
    logprob: Float[np.ndarray, "layer token"]
    """log p_l(y), in nats."""
    rank: Shaped[np.ndarray, "layer token"]
    """Place of y by falling logit, from 1."""
    entropy: Float[np.ndarray, "layer token"]
    """Entropy of p_l, in nats."""
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

    def first_layer(self, k: int) -> Float[np.ndarray, " token"]:
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


@without_gradients()
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


def _scores(logits: Float[Tensor, "scored d_vocab"], targets: Int[Tensor, " scored"]) -> Float[np.ndarray, "3 scored"]:
    """Log-probability and rank of the targets, and entropy."""
    logs = logits.log_softmax(-1)
    own = logs.gather(-1, targets[:, None])[:, 0]
    places = rank(Scored(logits=logits, reference=logits, targets=targets))
    # a token of probability 0 adds nothing, and -inf times 0 would be NaN
    entropy = torch.special.entr(logs.exp()).sum(-1)
    return torch.stack([column.double() for column in (own, places, entropy)]).cpu().numpy()
