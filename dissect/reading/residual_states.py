"""The residual stream after each layer at chosen tokens: what probes, CKA and principal directions look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.data.prompts import Prompts
from dissect.models.changing.hooked import hooked
from dissect.models.running.forward import final_residual
from dissect.undoing.gradient_mode import without_gradients

Positions = Literal["last_prompt", "predicting", "answer", "first"]
"""The last token before the answer; where the answer's tokens are predicted; where they stand; the first of the row."""


@dataclass(frozen=True, eq=False)
class States:
    """``resid_post`` of some tokens, prompt after prompt."""

    values: Float[np.ndarray, "layer item d_model"]
    """float32, or float64 of a model in float64."""
    row: Int[np.ndarray, " item"]
    """The prompt that each token belongs to."""

    def layer(self, layer: int) -> Float[np.ndarray, "item d_model"]:
        """Return the states of one layer, in float64."""
        return self.values[layer].astype(np.float64)

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return len(self.values)


def mask_of(prompts: Prompts, positions: Positions) -> Bool[Tensor, "prompt pos"]:
    """True at the tokens of that kind."""
    if positions == "answer":
        return prompts.answer_mask
    if positions == "predicting":
        return prompts.predicting_mask
    places = torch.arange(prompts.tokens.shape[1])
    position = prompts.prompt_lengths[:, None] - 1 if positions == "last_prompt" else torch.zeros(len(prompts), 1)
    return places == position


@without_gradients()
def states(
    model: HookedTransformer, prompts: Prompts, mask: Bool[Tensor, "prompt pos"], *, batch_size: int = 32
) -> States:
    """The residual stream after every layer where ``mask`` is True; nothing else of a pass is kept."""
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    device, start = model.embed.W_E.device, 0
    for part in prompts.batches(batch_size):
        where = mask[start : start + len(part), : part.tokens.shape[1]].to(device)
        with hooked(model, [(name, _keeper(kept[name], where)) for name in names]):
            final_residual(model, part.tokens.to(device))
        start += len(part)
    values = np.stack([torch.cat(kept[name]).numpy() for name in names])
    return States(values, mask.nonzero()[:, 0].numpy())


def _keeper(kept: list[Tensor], where: Bool[Tensor, "batch pos"]) -> Callable[..., None]:
    def keep(activation: Tensor, hook: HookPoint) -> None:
        selected = activation[where]
        kept.append((selected if selected.dtype == torch.float64 else selected.float()).cpu())

    return keep


def drawn(counts: Int[np.ndarray, " row"], limit: int | None, *, seed: int) -> Int[np.ndarray, " chosen"]:
    """Rows in order, all or those that a random order of them brings before ``limit`` tokens are passed."""
    if limit is None or counts.sum() <= limit:
        return np.arange(len(counts))
    order = np.random.default_rng(seed).permutation(len(counts))
    return np.sort(order[np.cumsum(counts[order]) <= limit])
