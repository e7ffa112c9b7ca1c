"""Donors that carry nothing of the answer: what a recovery has to be compared with.

A patch can move the logits for reasons that have nothing to do with knowledge: late coefficients of the base model
carry the answer that it has already computed, and any activation of the usual size may do something.

- ``identity``: the recipient's own activations. Recovery is exactly 0, or the engine is wrong.
- ``shuffled``: the donor's activations on another prompt, put in at positions of the same role. What they bring back is
  not about this prompt's answer.
- ``random``: noise, at each position as long as the donor's activation.
- ``single``: windows of one layer, from which nothing can be hidden behind a neighbour.
"""

import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.sweep.batch import Batch
from dissect.sweep.donor import Donor
from dissect.sweep.trace import Trace, trace

CONTROLS = ("identity", "shuffled", "random", "single")


def check_controls(asked: Sequence[str] | bool, n_prompts: int) -> tuple[str, ...]:
    """The controls asked for; ``True`` stands for all of them.

    Raises:
        DissectError: one that does not exist, or a shuffled donor for a single prompt.
    """
    if isinstance(asked, bool):
        asked = CONTROLS if asked else ()
    chosen = (asked,) if isinstance(asked, str) else tuple(asked)
    for control in chosen:
        if control not in CONTROLS:
            raise DissectError(f"no control {control!r}: choose from {', '.join(CONTROLS)}")
    if "shuffled" in chosen and n_prompts < 2:
        raise DissectError("controls: a shuffled donor needs a second prompt to take activations from")
    return tuple(dict.fromkeys(chosen))


class ShuffledDonor(Donor):
    """The donor on other prompts: each prompt gets the activations of another one.

    Prompts are permuted by a seeded cyclic shift of a random order, so no prompt keeps its own. Positions correspond by
    their distance from the first answer token; where the other prompt has no such position nothing is swapped.
    """

    def __init__(self, model: HookedTransformer, prompts: Prompts, *, seed: int = 0) -> None:
        super().__init__(model)
        self._prompts = prompts
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed))
        self._partner = torch.empty_like(order)
        self._partner[order] = order.roll(1)
        self._sources: Int[Tensor, "batch pos"] | None = None

    def activations(self, batch: Batch) -> dict[str, Tensor]:
        """The partner's activations, moved to the positions of the same role."""
        found = super().activations(batch)
        assert self._sources is not None
        rows = torch.arange(len(self._sources), device=batch.tokens.device)[:, None]
        sources = self._sources.clamp(min=0).to(batch.tokens.device)
        return {name: value.to(sources.device)[rows, sources] for name, value in found.items()}

    def valid(self, batch: Batch) -> Bool[Tensor, "batch pos"] | None:
        """Where the partner has a position of the same role."""
        self.trace(batch)
        assert self._sources is not None
        return self._sources >= 0

    @torch.no_grad()
    def _run(self, batch: Batch) -> Trace:
        others = self._prompts[self._partner[batch.place]]
        shift = (others.prompt_lengths - batch.prompts.prompt_lengths)[:, None]
        sources = torch.arange(batch.tokens.shape[1])[None] + shift
        self._sources = sources.masked_fill((sources < 0) | (sources >= others.lengths[:, None]), -1)
        tokens = others.tokens.to(batch.tokens.device)
        nothing = torch.zeros_like(tokens, dtype=torch.bool)
        nothing[:, -1] = True
        swapped = Batch(batch.index, batch.place, others, tokens, nothing, batch.rows, batch.targets)
        return trace(self.model, swapped, sorted(self._names), fused_attention=self.fused_attention)


class RandomDonor(Donor):
    """Noise in the donor's place: a random direction at each position, as long as the donor's activation there."""

    def __init__(self, source: Donor, *, seed: int = 0) -> None:
        super().__init__(source.model)
        self._source = source
        self._seed = seed
        self._noise: dict[str, Tensor] = {}
        self._noise_index: int | None = None

    def activations(self, batch: Batch) -> dict[str, Tensor]:
        """The same noise for all cells of a batch; it depends on seed, batch and hook alone."""
        if self._noise_index != batch.index:
            self._noise, self._noise_index = {}, batch.index
        found = super().activations(batch)
        for name in found.keys() - self._noise.keys():
            self._noise[name] = self._like(found[name], f"{self._seed} {batch.index} {name}")
        return self._noise

    @staticmethod
    def _like(activation: Tensor, key: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        noise = torch.randn(activation.shape, generator=generator, dtype=torch.float32).to(activation.device)
        length = activation.float().norm(dim=-1, keepdim=True)
        return (noise * length / noise.norm(dim=-1, keepdim=True)).to(activation.dtype)
