"""Attention for tokens of several rows packed behind each other, with keys and values laid out row by row."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformer_lens.components.abstract_attention import AbstractAttention
from transformer_lens.utilities.activation_functions import apply_softcap, softcap_enabled

Rotary = tuple[Float[Tensor, "token 1 d_rotary"], Float[Tensor, "token 1 d_rotary"]]
"""Cosines and sines at the tokens' positions; those sines negative that the first component of a pair takes."""


class Where:
    """The places of the tokens of one pass: all of every row, or the last of each.

    What several layers share (rotary tables, masks) is made once; layers with a sliding window have their own.
    """

    def __init__(
        self, lengths: Sequence[int], cache: Float[Tensor, "2 layer row head room d_head"], *, first: bool
    ) -> None:
        device, (n_rows, n_heads, room) = cache.device, cache.shape[2:5]
        self._lengths, self._first, self._dtype = lengths, first, cache.dtype
        self._stop, self._equal = max(lengths), min(lengths) == max(lengths)
        ends = torch.tensor(lengths)
        if first:
            rows = torch.arange(n_rows).repeat_interleave(ends)
            positions = torch.arange(len(rows)) - (ends.cumsum(0) - ends)[rows]
        else:
            rows, positions = torch.arange(n_rows), ends - 1
        heads = torch.arange(n_heads)
        self.positions = positions.to(device)
        """Position of each token in its row."""
        # Of each token and head among the flattened (row, head, position) of a layer's keys or values.
        self._slots = (((rows * n_heads)[:, None] + heads) * room + positions[:, None]).flatten().to(device)
        self._padded = (rows * self._stop + positions).to(device)
        self._rotary: dict[str, Rotary] = {}
        self._masks: dict[str, tuple[int, Tensor | None]] = {}

    def rotate(self, attn: AbstractAttention, x: Float[Tensor, "token head d_head"]) -> None:
        """Turn queries or keys by their positions, in place."""
        kind = f"{attn.attn_type} {getattr(attn, 'rotary_kind', '')}"
        if kind not in self._rotary:
            self._rotary[kind] = self._new_rotary(attn)
        cos, sin = self._rotary[kind]
        turning = x[..., : cos.shape[-1]]  # components i and i + half turn together (or neighbours), the rest stays
        if attn.cfg.rotary_adjacent_pairs:
            other = turning.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        else:
            other = turning.roll(cos.shape[-1] // 2, -1)
        turning.mul_(cos).addcmul_(other, sin)

    def put(self, new: Float[Tensor, "token kv_head d_head"], kept: Float[Tensor, "row kv_head room d_head"]) -> None:
        """Write the tokens' keys or values into their slots."""
        kept.view(-1, kept.shape[-1]).index_copy_(0, self._slots, new.reshape(-1, new.shape[-1]))

    def attended(
        self,
        attn: AbstractAttention,
        q: Float[Tensor, "token head d_head"],
        keys: Float[Tensor, "row kv_head room d_head"],
        values: Float[Tensor, "row kv_head room d_head"],
    ) -> Float[Tensor, "token head d_head"]:
        """The heads' weighted sums of values. Each query sees its row's keys up to its own position."""
        start, mask = self._mask(attn)
        keys, values = keys[:, :, start : self._stop], values[:, :, start : self._stop]
        if not self._first:  # the query heads that share a key stand as queries side by side: nothing is repeated
            z = _weighted(attn, q.unflatten(1, (keys.shape[1], -1)), keys, values, mask=mask, causal=False)
            return z.reshape(q.shape)
        wide = q
        if not self._equal:
            wide = q.new_zeros(len(self._lengths) * self._stop, *q.shape[1:]).index_copy_(0, self._padded, q)
        wide = wide.unflatten(0, (len(self._lengths), self._stop)).transpose(1, 2)
        z = _weighted(attn, wide, keys, values, mask=mask, causal=mask is None).transpose(1, 2).flatten(0, 1)
        return z if self._equal else z[self._padded]

    def _new_rotary(self, attn: AbstractAttention) -> Rotary:
        if self._stop > (rows := attn.rotary_cos.shape[0]):
            attn._extend_rotary_embeddings(min(attn.cfg.n_ctx, max(self._stop, 2 * rows)))
        cos, sin = (table[self.positions, None] for table in (attn.rotary_cos, attn.rotary_sin))
        first_of_pairs = slice(None, None, 2) if attn.cfg.rotary_adjacent_pairs else slice(sin.shape[-1] // 2)
        sin[..., first_of_pairs].neg_()
        return cos, sin

    def _mask(self, attn: AbstractAttention) -> tuple[int, Float[Tensor, "#row 1 query key"] | None]:
        """The first position that any query sees, and what is added to the scores of the keys from there on.

        None where every query sees every key, or all up to its own where all of every row are read.
        """
        if attn.attn_type not in self._masks:
            self._masks[attn.attn_type] = self._new_mask(attn)
        return self._masks[attn.attn_type]

    def _new_mask(self, attn: AbstractAttention) -> tuple[int, Tensor | None]:
        window = attn.cfg.window_size if attn.attn_type == "local" else self._stop
        device = self.positions.device
        if self._first:
            if window >= self._stop and not softcap_enabled(attn.cfg.attn_scores_soft_cap):
                return 0, None
            queries, start = torch.arange(self._stop, device=device)[None], 0
        else:
            queries, start = self.positions[:, None], max(0, min(self._lengths) - window)
            if self._equal:
                return start, None
        distances = queries[:, :, None] - torch.arange(start, self._stop, device=device)
        hidden = (distances < 0) | (distances >= window)
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=device).masked_fill_(hidden, -torch.inf)
        return start, mask[:, None]


def _weighted(
    attn: AbstractAttention,
    q: Float[Tensor, "row head query d_head"],
    keys: Float[Tensor, "row kv_head key d_head"],
    values: Float[Tensor, "row kv_head key d_head"],
    *,
    mask: Float[Tensor, "#row 1 query_or_one key"] | None,
    causal: bool,
) -> Float[Tensor, "row head query d_head"]:
    cap, shared = attn.cfg.attn_scores_soft_cap, q.shape[1] // keys.shape[1]
    if not softcap_enabled(cap):
        return functional.scaled_dot_product_attention(
            q, keys, values, attn_mask=mask, is_causal=causal, scale=1 / attn.attn_scale, enable_gqa=shared > 1
        )
    keys, values = (x.repeat_interleave(shared, dim=1) if shared > 1 else x for x in (keys, values))
    scores = apply_softcap(q @ keys.mT / attn.attn_scale, cap)
    return (scores if mask is None else scores + mask).softmax(-1) @ values
