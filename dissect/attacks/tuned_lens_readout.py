"""A tuned lens on the model under attack, fitted on retain facts: what later layers no longer let through.

A translator (Belrose et al. 2023, arXiv:2303.08112) learns to carry the states of one layer to those of the last, on
tokens of retain facts. Entry (i, j) is log p(answer j | question i) read off the last layer of a third of
the model through the translator, final norm and unembedding. The late third stops before the last layer, whose
reading is the model's own.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.attacks.layer_states import THIRDS, layers_of, states_at
from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.models.running.forward import read_out
from dissect.reading.layer_lens import states_by_layer
from dissect.reading.residual_states import drawn
from dissect.reading.tuned_lens_fit import FitSettings, TunedLens, fit
from dissect.undoing.gradient_mode import with_gradients, without_gradients

LEAST = 20
"""Retain facts that the lens is fitted on at least."""
MAX_TOKENS = 8192
"""Tokens that it is fitted on at most; their states after both layers are in memory together."""


def tuned_lens_readout(target: Target, *, third: str, steps: int) -> Scores:
    """log p(answer | question) as one layer would say it through a tuned lens."""
    n_layers = target.model.cfg.n_layers
    layer = min(layers_of(third, n_layers)[-1], n_layers - 2)
    if layer < 0:
        raise NotPossible("the model has one layer, whose reading is its own answer")
    lens = _fitted(target, layer, steps)
    target.notes.append(f"Read off layer {layer}.")
    sums = [np.zeros(sheet.shape) for sheet in target.sheets]
    counts = [np.zeros(sheet.shape) for sheet in target.sheets]
    facts: list[Fact] = []
    cells: list[tuple[int, int, int]] = []
    for number, sheet in enumerate(target.sheets):
        for ask in sheet.asks:
            for question in ask.asked():
                facts.extend(question.answered(text) for text in ask.answers)
                cells.extend((number, ask.row, column) for column in ask.columns)
    prompts = target.asking.prompts(facts, target.model)
    for (number, row, column), value in zip(cells, _logprobs(target, prompts, lens, layer), strict=True):
        sums[number][row, column] += value
        counts[number][row, column] += 1
    with np.errstate(invalid="ignore"):
        return [total / count for total, count in zip(sums, counts, strict=True)]


def _fitted(target: Target, layer: int, steps: int) -> TunedLens:
    """A lens with one translator, from ``layer``, fitted on tokens of retain facts but the first of each."""
    prompts = target.asking.prompts(target.kept(LEAST), target.model)
    rows = drawn((prompts.lengths - 1).numpy(), MAX_TOKENS, seed=target.seed)
    part = prompts[(rows if len(rows) else np.array([0])).tolist()]
    places = torch.arange(part.tokens.shape[1])
    behind_first = (places >= 1) & (places < part.lengths[:, None])
    both = (layer, target.model.cfg.n_layers - 1)
    states = states_at(target.model, part, behind_first, both, target.asking.batch_size)
    states = states.to(torch.promote_types(states.dtype, torch.float32)).to(target.model.embed.W_E.device)
    with with_gradients():
        return fit(target.model, states, FitSettings(steps=steps, seed=target.seed))


@without_gradients()
def _logprobs(target: Target, prompts: Prompts, lens: TunedLens, layer: int) -> Float[np.ndarray, " text"]:
    """Sum of the answer's log-probabilities of each text, in nats, read off ``layer``."""
    model, sums = target.model, []
    device = model.embed.W_E.device
    for part in prompts.batches(target.asking.batch_size):
        where = part.predicting_mask
        targets = part.tokens[part.answer_mask].to(device)
        for number, states in enumerate(states_by_layer(model, part.tokens.to(device), where.to(device))):
            if number == layer:
                own = _own(read_out(model, lens.translated(0, states)[None])[0], targets)
                break
        rows = where.nonzero()[:, 0]
        sums.append(torch.zeros(len(part), dtype=torch.float64).index_add_(0, rows, own))
    return torch.cat(sums).numpy()


def _own(logits: Float[Tensor, "scored d_vocab"], targets: Tensor) -> Float[Tensor, " scored"]:
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double().cpu()


ATTACKS = tuple(
    Attack(
        name=f"tuned_lens_{third}",
        label=f"tuned lens, {third} layers",
        family="states",
        seen="Retain facts, on whose tokens a tuned lens of the model was fitted.",
        run=partial(tuned_lens_readout, third=third),
        budget={"steps": 300},
    )
    for third in THIRDS
)
