"""The residual stream after each layer at chosen tokens: what probes, CKA and principal directions look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.data.prompts import Prompts
from dissect.metrics.measure import Undefined
from dissect.metrics.subject import Subject
from dissect.models.forward import final_residual

Positions = Literal["last_prompt", "predicting", "answer", "first"]
"""The last token before the answer; where the answer's tokens are predicted; where they stand; the first of the row."""

COMPARED: tuple[Positions, ...] = ("answer", "predicting")
"""Where checkpoints are compared. At the answer's tokens the states hold what was read there, which forgetting hardly
touches; where these tokens are predicted they hold what is recalled."""

MAX_TOKENS = 2048
"""So many tokens are compared at most: whole facts, drawn by the seed. It bounds memory and the Gram matrices."""


@dataclass(frozen=True, eq=False)
class States:
    """``resid_post`` of some tokens, prompt after prompt."""

    values: Float[np.ndarray, "layer item d_model"]
    """float32, or float64 of a model in float64."""
    row: Int[np.ndarray, "item"]
    """The prompt that each token belongs to."""

    def layer(self, layer: int) -> Float[np.ndarray, "item d_model"]:
        """Of one layer, in float64."""
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
    chosen = prompts.prompt_lengths[:, None] - 1 if positions == "last_prompt" else torch.zeros(len(prompts), 1)
    return places == chosen


@torch.no_grad()
def states(
    model: HookedTransformer, prompts: Prompts, mask: Bool[Tensor, "prompt pos"], *, batch_size: int = 32
) -> States:
    """The residual stream after every layer where ``mask`` is True; nothing else of a pass is kept."""
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    device, start = model.embed.W_E.device, 0
    for part in prompts.batches(batch_size):
        where = mask[start : start + len(part), : part.tokens.shape[1]].to(device)
        with model.hooks(fwd_hooks=[(name, _keeper(kept[name], where)) for name in names]):
            final_residual(model, part.tokens.to(device))
        start += len(part)
    values = np.stack([torch.cat(kept[name]).numpy() for name in names])
    return States(values, mask.nonzero()[:, 0].numpy())


def _keeper(kept: list[Tensor], where: Bool[Tensor, "batch pos"]) -> Callable[..., None]:
    def keep(activation: Tensor, hook: HookPoint) -> None:
        chosen = activation[where]
        kept.append((chosen if chosen.dtype == torch.float64 else chosen.float()).cpu())

    return keep


def states_of(subject: Subject, positions: Positions, *, max_tokens: int | None = None) -> States:
    """A checkpoint's states at its own set of facts, computed once.

    With ``max_tokens`` facts are drawn until they have so many tokens: the same ones of every checkpoint.
    """

    def make() -> States:
        prompts = subject.prompts
        mask = mask_of(prompts, positions)
        chosen = drawn(mask.sum(1).numpy(), max_tokens, seed=subject.settings.seed)
        rows = torch.as_tensor(chosen)
        part = prompts[rows]
        found = states(subject.model, part, mask[rows, : part.tokens.shape[1]], batch_size=subject.settings.batch_size)
        return States(found.values, chosen[found.row])

    return subject.memo(("states", subject.set, positions, max_tokens), make)


def drawn(counts: Int[np.ndarray, "row"], limit: int | None, *, seed: int) -> Int[np.ndarray, "chosen"]:
    """Rows in order, all or those that a random order of them brings before ``limit`` tokens are passed."""
    if limit is None or counts.sum() <= limit:
        return np.arange(len(counts))
    order = np.random.default_rng(seed).permutation(len(counts))
    return np.sort(order[np.cumsum(counts[order]) <= limit])


def beside_base(subject: Subject, positions: Positions, *, max_tokens: int | None = None) -> tuple[States, States]:
    """The states of the base model and those of the checkpoint, at the same tokens.

    Raises:
        Undefined: there is no base model, or the two cannot be compared token by token and layer by layer.
    """
    base = subject.base
    if base.model.cfg.n_layers != subject.model.cfg.n_layers:
        raise Undefined(
            f"it compares layer by layer, and base has {base.model.cfg.n_layers}, {subject.name} "
            f"{subject.model.cfg.n_layers}: give checkpoints of one architecture"
        )
    if base.prompts.fingerprint() != subject.prompts.fingerprint():
        raise Undefined("the two tokenise the facts differently: give checkpoints with one tokenizer")
    return tuple(states_of(one, positions, max_tokens=max_tokens) for one in (base, subject))  # type: ignore[return-value]


def tokens_option(subject: Subject, measure: str) -> int:
    """At most so many tokens, as the user wants it.

    Raises:
        Undefined: no whole number.
    """
    wanted: Any = subject.option(f"{measure}.max_tokens", MAX_TOKENS)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise Undefined(f"{measure}.max_tokens must be a whole number of tokens, got {wanted!r}")
    return wanted
