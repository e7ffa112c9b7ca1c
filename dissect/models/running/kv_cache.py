"""A key/value cache that holds rows of any lengths side by side, and the steps that decode with it."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformer_lens import HookedTransformer
from transformer_lens.components import Attention, GroupedQueryAttention
from transformer_lens.components.mlps.gated_mlp import GatedMLP
from transformer_lens.components.mlps.mlp import MLP

from dissect.models.running.attention import is_plain
from dissect.models.running.forward import unembedded
from dissect.models.running.lean import LeanBlock, lean_norm
from dissect.models.running.packed import Where

_GROWTH = 64  # positions that are added to the room of all prompts, and again where they are used up


def can_decode(model: HookedTransformer) -> bool:
    """Return whether `Decoder` computes what this model does: no module is hooked, no part is of another kind."""
    cfg = model.cfg
    known = (
        cfg.n_devices == 1
        and not cfg.attn_only
        and not cfg.use_hook_tokens
        and not cfg.use_dynamic_ntk_rope
        and not cfg.is_layer_norm_activation()
        and cfg.normalization_type is not None
        and all(type(block.attn) in (Attention, GroupedQueryAttention) for block in model.blocks)
        and all(type(block.mlp) in (MLP, GatedMLP) for block in model.blocks)
        and all(is_plain(block.attn) for block in model.blocks)
    )
    # A hook of TransformerLens is a hook of PyTorch on its hook point; others may stand on the blocks themselves.
    return known and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Decoder:
    """Texts that a model reads on, each from its own position.

    Tokens are run *packed*, those of all rows behind each other, so that norms, projections and MLPs see no padding;
    attention alone lays the rows out side by side. Row r's key and value at position p lie in slot (r, p) of the cache;
    a query at p sees the slots up to p, or the last ones of them under a sliding window, so what lies in later slots
    never matters. `can_decode` says for which models this is what they compute. Parameters are read when it is made.
    """

    def __init__(self, model: HookedTransformer, prompts: Sequence[Int[Tensor, " _"]], *, max_new_tokens: int) -> None:
        cfg, weight = model.cfg, model.blocks[0].attn.W_O
        self.lengths = [len(prompt) for prompt in prompts]
        """Number of tokens of each row, read or about to be."""
        self._model, self._prompts, self._device = model, prompts, weight.device
        self._blocks, self._ln_final = [LeanBlock(block) for block in model.blocks], lean_norm(model.ln_final)
        room = max(self.lengths) + min(max_new_tokens, _GROWTH)
        shape = (2, cfg.n_layers, len(prompts), cfg.n_key_value_heads or cfg.n_heads, room, cfg.d_head)
        # Zeros, because a masked slot still enters a product with weight 0, and 0 times what lay in memory may be NaN.
        self._cache = torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    def read_prompts(self) -> Float[Tensor, "row d_vocab"]:
        """Read all prompts; returns the logits after each."""
        where = Where(self.lengths, self._cache, first=True)
        residual = self._run(torch.cat(list(self._prompts)).to(self._device), where)
        last = torch.tensor(self.lengths, device=self._device).cumsum(0) - 1
        return self._logits(residual[last])

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row d_vocab"]:
        """Read one more token of each row; returns the logits after it."""
        self.lengths = [length + 1 for length in self.lengths]
        if max(self.lengths) > (room := self._cache.shape[-2]):
            self._cache = functional.pad(self._cache, (0, 0, 0, room // 2 + _GROWTH))
        return self._logits(self._run(tokens, Where(self.lengths, self._cache, first=False)))

    def keep(self, rows: Collection[int]) -> list[int]:
        """Drop all rows but ``rows``; the last ones move into the gaps. Returns which row each place now holds."""
        n, used = len(rows), max(self.lengths)
        order = list(range(n))
        gaps = [number for number in order if number not in rows]
        for gap, row in zip(gaps, sorted(row for row in rows if row >= n), strict=True):
            order[gap] = row
            self._cache[:, :, gap, :, :used] = self._cache[:, :, row, :, :used]
        self._cache = self._cache[:, :, :n]
        self.lengths = [self.lengths[row] for row in order]
        return order

    def _run(self, tokens: Int[Tensor, " token"], where: Where) -> Float[Tensor, "token d_model"]:
        """The residual stream after the last block; keys and values go into the cache."""
        model = self._model
        residual = model.embed(tokens[None])[0]
        if model.cfg.positional_embedding_type == "standard":
            residual = residual + model.pos_embed.W_pos[where.positions]
        for block, keys, values in zip(self._blocks, *self._cache, strict=True):
            residual = block(residual, where, keys, values)
        return residual

    def _logits(self, residual: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
        return unembedded(self._model, self._ln_final(residual))
