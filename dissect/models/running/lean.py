"""Blocks without hook points, for passes in which nothing looks inside: decoding, where a step is small.

The order of operations is that of TransformerLens; up to rounding so are the numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformer_lens.components import GroupedQueryAttention, LayerNorm, RMSNorm, TransformerBlock
from transformer_lens.components.abstract_attention import AbstractAttention
from transformer_lens.components.mlps.gated_mlp import GatedMLP
from transformer_lens.utilities.activation_functions import gelu_new
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from dissect.models.modules import OffsetRMSNorm
from dissect.models.running.attention import bias_of
from dissect.models.running.packed import Where

Tokens = Float[Tensor, "token d_model"]
Linear = tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"] | None]


class LeanBlock:
    """A block's parameters, looked up once: matrices as products take them, biases only where they are not zero.

    It is worth no more than the parameters were when it was made, and computes new values in place of those that it
    has made itself, so it is no use where gradients are wanted.
    """

    def __init__(self, block: TransformerBlock) -> None:
        cfg, attn, mlp = block.cfg, block.attn, block.mlp
        self._attn = attn
        self._post_norm = cfg.original_architecture in POST_NORM_ARCHITECTURES
        self._parallel = cfg.parallel_attn_mlp
        self._ln1, self._ln2 = lean_norm(block.ln1), lean_norm(block.ln2)
        both = cfg.use_normalization_before_and_after
        self._ln1_after = lean_norm(block.ln1_post) if both else self._ln1 if self._post_norm else None
        self._ln2_after = lean_norm(block.ln2_post) if both else self._ln2 if self._post_norm else None
        stored = "_" if isinstance(attn, GroupedQueryAttention) else ""
        self._q, self._k, self._v = (_projection(attn, *names) for names in (("", "Q"), (stored, "K"), (stored, "V")))
        # Two of OLMo-2's norms run over all heads at once, Qwen-3's over each.
        self._norms = None if attn.q_norm is None else (lean_norm(attn.q_norm), lean_norm(attn.k_norm))
        self._out = (attn.W_O.permute(2, 0, 1).flatten(1), bias_of(attn.b_O))
        self._gate = mlp.W_gate.T if isinstance(mlp, GatedMLP) else None
        self._act = _ACTIVATIONS.get(mlp.act_fn, mlp.act_fn)
        self._up, self._down = (mlp.W_in.T, bias_of(mlp.b_in)), (mlp.W_out.T, bias_of(mlp.b_out))

    def __call__(
        self,
        x: Tokens,
        where: Where,
        keys: Float[Tensor, "row kv_head room d_head"],
        values: Float[Tensor, "row kv_head room d_head"],
    ) -> Tokens:
        """The residual stream after the block, from that before it; the tokens' keys and values go into the cache."""
        out = self._attention(x if self._post_norm else self._ln1(x), where, keys, values)
        middle = (out if self._ln1_after is None else self._ln1_after(out)).add_(x)
        entering = x if self._parallel else middle
        out = self._mlp(entering if self._post_norm else self._ln2(entering))
        return (out if self._ln2_after is None else self._ln2_after(out)).add_(middle)

    def _attention(self, x: Tokens, where: Where, keys: Tensor, values: Tensor) -> Tokens:
        attn, cfg = self._attn, self._attn.cfg
        q, k, v = (functional.linear(x, *linear) for linear in (self._q, self._k, self._v))
        if self._norms is not None and not cfg.use_qk_norm:
            q, k = self._norms[0](q), self._norms[1](k)
        q, k, v = (part.unflatten(-1, (-1, cfg.d_head)) for part in (q, k, v))
        if self._norms is not None and cfg.use_qk_norm:
            q, k = self._norms[0](q), self._norms[1](k)
        if cfg.clip_qkv is not None:
            q, k, v = (part.clamp_(min=-cfg.clip_qkv, max=cfg.clip_qkv) for part in (q, k, v))
        if cfg.positional_embedding_type == "rotary":
            where.rotate(attn, q)
            where.rotate(attn, k)
        where.put(k, keys)
        where.put(v, values)
        return functional.linear(where.attended(attn, q, keys, values).flatten(1), *self._out)

    def _mlp(self, x: Tokens) -> Tokens:
        if self._gate is None:
            return functional.linear(self._act(functional.linear(x, *self._up)), *self._down)
        m = self._act(functional.linear(x, self._gate)).mul_(functional.linear(x, self._up[0]))
        return functional.linear(m if self._up[1] is None else m.add_(self._up[1]), *self._down)


def lean_norm(norm: Any) -> Callable[[Tensor], Tensor]:
    """``norm`` in fewer steps; the module itself for other kinds, and in narrow formats, which it norms in float32."""
    if type(norm) not in (LayerNorm, RMSNorm, OffsetRMSNorm) or norm.w.dtype not in (torch.float32, torch.float64):
        return norm
    if type(norm) is LayerNorm:
        return partial(functional.layer_norm, normalized_shape=norm.w.shape, weight=norm.w, bias=norm.b, eps=norm.eps)
    weight = norm.w + 1 if type(norm) is OffsetRMSNorm else norm.w
    return partial(_rms_normed, weight=weight, eps=norm.eps)


def _rms_normed(x: Float[Tensor, "*batch d"], *, weight: Float[Tensor, " d"], eps: float) -> Float[Tensor, "*batch d"]:
    scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x * scale[..., None]).mul_(weight)


def _projection(attn: AbstractAttention, prefix: str, name: str) -> Linear:
    weight = getattr(attn, f"{prefix}W_{name}").mT.flatten(0, 1)
    return weight, bias_of(getattr(attn, f"{prefix}b_{name}"), flat=True)


_ACTIVATIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    functional.silu: partial(functional.silu, inplace=True),
    gelu_new: partial(functional.gelu, approximate="tanh"),  # the same formula in one operation
}
