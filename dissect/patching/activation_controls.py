"""Donors that carry nothing of the answer: what a recovery has to be compared with.

A patch can move the logits for reasons that have nothing to do with knowledge: late coefficients of the base model
carry the answer that it has already computed, and any activation of the usual size may do something.

- ``identity``: the recipient's own activations. Recovery is exactly 0, or the engine is wrong.
- ``shuffled``: the donor's activations on another prompt, put in at positions of the same role. What they bring back is
  not about this prompt's answer.
- ``retrained``: the same activations of a model that was never trained on the forgotten data: of the same text, at the
  same place, without the answer. Where the pair has one.
- ``random``: noise, at each position as long as the donor's activation.
- ``single``: windows of one layer, from which nothing can be hidden behind a neighbour.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.patching.sites import SITES
from dissect.sweep.batch import Batch
from dissect.sweep.cache import CacheOptions
from dissect.sweep.control_names import check_control_names
from dissect.sweep.donor import Donor

CONTROLS = ("identity", "shuffled", "retrained", "random", "single")


def check_controls(controls: str | Sequence[str] | bool, n_prompts: int, *, retrained: bool) -> tuple[str, ...]:
    """Return the names of the controls asked for; ``True`` stands for all that there can be.

    Args:
        retrained: whether there is a retrained model, and it is neither donor nor recipient.

    Raises:
        DissectError: one that does not exist, a shuffled donor for a single prompt, no retrained model.
    """
    needs_third = (
        "needs a retrained model that is neither donor nor recipient: give one with load_pair(..., retrained=...), on "
        "the command line --retrained DIR"
    )
    reasons = {
        "retrained": None if retrained else needs_third,
        "shuffled": None if n_prompts > 1 else "needs a second prompt to take activations from",
    }
    return check_control_names(controls, {name: reasons.get(name) for name in CONTROLS})


class ShuffledDonor(Donor):
    """The donor on other prompts: each prompt gets the activations of another one.

    Prompts are permuted by a seeded cyclic shift of a random order, so no prompt keeps its own. Positions correspond by
    their distance from the first answer token; where the other prompt has no such position nothing is swapped.
    """

    def __init__(
        self, model: HookedTransformer, prompts: Prompts, *, seed: int = 0, cache: CacheOptions | None = None
    ) -> None:
        super().__init__(model, cache)
        self._prompts = prompts
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed))
        self._partner = torch.empty_like(order)
        self._partner[order] = order.roll(1)

    def activation(self, batch: Batch, name: str) -> Tensor:
        """The partner's activation, moved to the positions of the same role."""
        theirs = super().activation(batch, name)
        sources = self._sources(batch).clamp(min=0).to(theirs.device)
        return theirs[torch.arange(len(sources), device=theirs.device)[:, None], sources]

    def valid(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        """Positions at which the partner has one of the same role."""
        return self._sources(batch) >= 0

    def _sources(self, batch: Batch) -> Int[Tensor, "batch pos"]:
        """Return, for each position, the partner's position of the same role, -1 where it has none."""
        others = self._prompts[self._partner[batch.place]]
        shift = (others.prompt_lengths - batch.prompts.prompt_lengths)[:, None]
        sources = torch.arange(batch.tokens.shape[1])[None] + shift
        return sources.masked_fill((sources < 0) | (sources >= others.lengths[:, None]), -1)

    def _run(self, batch: Batch) -> dict[str, Tensor]:
        others = self._prompts[self._partner[batch.place]]
        tokens = others.tokens.to(batch.tokens.device)
        unscored = torch.zeros_like(tokens, dtype=torch.bool)
        return super()._run(replace(batch, prompts=others, tokens=tokens, scored=unscored))


class RandomDonor(Donor):
    """Noise in the donor's place: a random direction at each position, as long as the donor's activation there.

    A prompt gets the same noise alone, among others and in batches of every size.
    """

    def __init__(self, source: Donor, *, seed: int = 0) -> None:
        super().__init__(source.model, source.cache)
        self._source = source
        self._seed = seed

    def want(self, names: Iterable[str]) -> None:
        """Have the source keep them: their lengths are needed."""
        names = list(names)
        super().want(names)
        self._source.want(names)

    def hold(self, batches: Iterable[Batch]) -> None:
        """Nothing to run: the source holds what the noise is made of."""

    def turn_to(self, batch: Batch) -> None:
        """Have the source ready."""
        self._source.turn_to(batch)

    def activation(self, batch: Batch, name: str) -> Tensor:
        """Return the noise, one tensor for all cells of a batch."""
        if self._index != batch.index:
            self._ready, self._index = {}, batch.index
        if name not in self._ready:
            self._ready[name] = _noise_like(self._source.activation(batch, name), batch.prompts, f"{self._seed} {name}")
        return self._ready[name]


def _noise_like(activation: Tensor, prompts: Prompts, key: str) -> Tensor:
    """Noise that depends on the key and the prompt's own tokens, not on what else is in its batch; 0 in the padding.

    Attention weights stay where attention may look: noise on later keys would read the answer that is to be predicted.
    """
    pattern = key.endswith(f".{SITES['pattern'].hook}")
    noise = torch.zeros(activation.shape, dtype=torch.float32)
    for row, tokens, length in zip(noise, prompts.tokens, prompts.lengths.tolist(), strict=True):
        own = row[:, :length, :length] if pattern else row[:length]
        own.copy_(torch.randn(own.shape, generator=_generator(f"{key} {tokens[:length].tolist()}")))
    noise = noise.to(activation.device)
    if pattern:
        noise *= activation != 0
    length = activation.float().norm(dim=-1, keepdim=True)
    own_length = noise.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (noise * length / own_length).to(activation.dtype)


def _generator(key: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(key.encode()))
