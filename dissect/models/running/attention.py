"""Attention in one fused operation, where nothing needs to see its scores or patterns."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from transformer_lens.components import GroupedQueryAttention
from transformer_lens.components.abstract_attention import AbstractAttention
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES


def attend(
    attn: AbstractAttention, entering: Float[Tensor, "batch pos d_model"], *, fused: bool
) -> Float[Tensor, "batch pos d_model"]:
    """Compute the attention of a block from its (normed) input, output projection included.

    With ``fused``, scores, softmax and weighted sum are one operation of PyTorch, if the architecture and the hooks
    that are set allow it; otherwise TransformerLens's own steps run.
    """
    if not fused or not can_fuse(attn):
        return attn(query_input=entering, key_input=entering, value_input=entering)
    q, k, v = _queries_keys_values(attn, entering)
    if attn.cfg.clip_qkv is not None:
        limit = attn.cfg.clip_qkv
        q, k, v = (part.clamp(min=-limit, max=limit) for part in (q, k, v))
    if attn.cfg.positional_embedding_type == "rotary":
        q, k = attn.hook_rot_q(_rotated(attn, q)), attn.hook_rot_k(_rotated(attn, k))
    mask = _local_mask(attn, q.shape[1], q.device)
    z = functional.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        scale=1 / attn.attn_scale,
        enable_gqa=k.shape[2] != q.shape[2],
    )
    z = attn.hook_z(z.transpose(1, 2))
    # The transposed view of the parameter is the checkpoint's own layout, so nothing is copied here.
    return functional.linear(z.flatten(2), attn.W_O.permute(2, 0, 1).flatten(1), bias_of(attn.b_O))


def _queries_keys_values(
    attn: AbstractAttention, entering: Float[Tensor, "batch pos d_model"]
) -> tuple[Float[Tensor, "batch pos head d_head"], ...]:
    """Compute them like TransformerLens, but keep grouped heads apart and add no biases that are not there."""
    stored = "_" if isinstance(attn, GroupedQueryAttention) else ""
    projected = []
    for name, prefix, hook in (("Q", "", attn.hook_q), ("K", stored, attn.hook_k), ("V", stored, attn.hook_v)):
        weights = getattr(attn, f"{prefix}W_{name}")
        flat = functional.linear(
            entering, weights.mT.flatten(0, 1), bias_of(getattr(attn, f"{prefix}b_{name}"), flat=True)
        )
        projected.append(hook(flat.unflatten(-1, (weights.shape[0], weights.shape[2]))))
    q, k, v = projected
    if attn.cfg.use_qk_norm:
        q, k = attn._apply_qk_norm(q, attn.q_norm), attn._apply_qk_norm(k, attn.k_norm)
    return q, k, v


def _rotated(
    attn: AbstractAttention, x: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch pos head d_head"]:
    """Rotary positions: TransformerLens's up to rounding, in a third of the passes over memory."""
    cfg, length = attn.cfg, x.shape[1]
    if cfg.rotary_adjacent_pairs or cfg.use_dynamic_ntk_rope or length > attn.rotary_cos.shape[0]:
        return attn.apply_rotary(x, 0, None)
    half = cfg.rotary_dim // 2
    cos, sin = attn.rotary_cos[None, :length, None], attn.rotary_sin[None, :length, None, :half]
    first, second, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    rotated = x[..., : 2 * half] * cos  # its two halves are alike
    rotated[..., :half].addcmul_(second, sin, value=-1)
    rotated[..., half:].addcmul_(first, sin)
    return torch.cat([rotated, rest], dim=-1) if rest.shape[-1] else rotated


def bias_of(parameter: Float[Tensor, "..."], *, flat: bool = False) -> Float[Tensor, " n"] | None:
    """A bias, or None where it is one of the frozen zeros that TransformerLens puts where a checkpoint has none.

    On a CPU, adding zeros costs a pass over the output of every product, and looking whether they are zeros next to
    nothing. Elsewhere the addition is free and the look would make the processor wait, so the bias is taken as it is.
    """
    if parameter.device.type == "cpu" and not parameter.requires_grad and not bool(parameter.any()):
        return None
    return parameter.flatten() if flat else parameter


def can_fuse(attn: AbstractAttention) -> bool:
    """Return whether the fused operation computes what this attention does, and no hook would be passed over."""
    cfg = attn.cfg
    one_operation = cfg.original_architecture not in POST_NORM_ARCHITECTURES and cfg.attn_scores_soft_cap <= 0
    hooked = any(hook.fwd_hooks or hook.bwd_hooks for hook in (attn.hook_attn_scores, attn.hook_pattern))
    return one_operation and is_plain(attn) and not hooked


def is_plain(attn: AbstractAttention) -> bool:
    """Return whether it is plain causal attention: queries, keys and values are projections of one input."""
    cfg = attn.cfg
    return (
        cfg.attention_dir == "causal"
        and cfg.positional_embedding_type in ("rotary", "standard")
        and not cfg.use_attn_result
        and not cfg.use_attention_sinks
        and not cfg.use_logn_attn
        and not cfg.ungroup_grouped_query_attention
        and not cfg.use_attn_in
        and not cfg.use_split_qkv_input
    )


def _local_mask(attn: AbstractAttention, length: int, device: torch.device) -> Bool[Tensor, "pos pos"] | None:
    """Mask of the keys that each query sees under a sliding window; None where the window is no limit."""
    if attn.attn_type != "local" or length <= attn.cfg.window_size:
        return None
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions[None, :]
    return (distance >= 0) & (distance < attn.cfg.window_size)
