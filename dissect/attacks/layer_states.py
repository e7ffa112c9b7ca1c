"""States of questions and of retain facts, for attacks that read them; and where on the way up they are read."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.attacks.attack import Target
from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.pairing.block import AS_ASKED
from dissect.reading.layer_lens import states_by_layer
from dissect.reading.residual_states import mask_of
from dissect.undoing.gradient_mode import without_gradients

THIRDS = ("early", "middle", "late")
"""Parts of the model in which the best layer is chosen, on retain facts alone; each part is an attack of its own."""
Where = list[list[tuple[int, tuple[int, ...]]]]
"""For each sheet the row and the prompts of each of its asks, in their order."""


def layers_of(third: str, n_layers: int) -> range:
    """The layers of a third of the model; the last third takes what is left over."""
    size = max(1, n_layers // len(THIRDS))
    first = min(THIRDS.index(third) * size, n_layers - 1)
    return range(first, n_layers if third == THIRDS[-1] else min(first + size, n_layers))


def questions_of(target: Target) -> tuple[Prompts, Where]:
    """Every question of the sheets as asked, and where each belongs.

    A question stands with the first of its candidate answers, which nothing that is read at the last token of the
    prompt can see.
    """
    facts: list[Fact] = []
    where: Where = []
    for sheet in target.sheets:
        asks = []
        for ask in sheet.asks:
            questions = ask.asked(AS_ASKED)
            asks.append((ask.row, tuple(range(len(facts), len(facts) + len(questions)))))
            facts.extend(question.answered(ask.answers[0]) for question in questions)
        where.append(asks)
    return target.asking.prompts(facts, target.model), where


@without_gradients()
def states_at(
    model: HookedTransformer,
    prompts: Prompts,
    mask: Bool[Tensor, "prompt pos"],
    layers: Sequence[int],
    batch_size: int,
) -> Float[Tensor, "layer item d_model"]:
    """The residual stream after some layers where ``mask`` is True, prompt after prompt, on the CPU as it was."""
    device, start = model.embed.W_E.device, 0
    batches = []
    for part in prompts.batches(batch_size):
        where = mask[start : start + len(part), : part.tokens.shape[1]].to(device)
        every = enumerate(states_by_layer(model, part.tokens.to(device), where))
        batches.append(torch.stack([states.cpu() for layer, states in every if layer in layers]))
        start += len(part)
    return torch.cat(batches, dim=1)


def last_states(
    model: HookedTransformer, prompts: Prompts, batch_size: int
) -> Float[np.ndarray, "layer prompt d_model"]:
    """The residual stream after each layer at the last token of each prompt, float64."""
    layers = range(model.cfg.n_layers)
    return states_at(model, prompts, mask_of(prompts, "last_prompt"), layers, batch_size).double().numpy()


def embeddings_of(model: HookedTransformer, ids: Sequence[Int[Tensor, " _"]]) -> Float[np.ndarray, "answer d_model"]:
    """Each answer as the mean of its tokens' embeddings, float64."""
    table = model.embed.W_E.detach()
    return np.stack([table[row.to(table.device)].double().mean(0).cpu().numpy() for row in ids])


def answer_ids(prompts: Prompts) -> list[Int[Tensor, " _"]]:
    """The tokens of each answer."""
    return [row[mask] for row, mask in zip(prompts.tokens, prompts.answer_mask, strict=True)]
