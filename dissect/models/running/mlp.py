"""The two halves of an MLP: the coefficients m, and what the value vectors make of them."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformer_lens.components import TransformerBlock
from transformer_lens.components.mlps.gated_mlp import GatedMLP
from transformer_lens.utilities.addmm import batch_addmm
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from dissect.models.running.attention import bias_of
from dissect.models.running.norms import normed


def coefficients(
    block: TransformerBlock, residual: Float[Tensor, "batch pos d_model"], *, fused: bool
) -> Float[Tensor, "batch pos d_mlp"]:
    """m^l = f(x W_K) from the residual stream that the MLP reads, gate and norm included.

    With ``fused`` the norm takes fewer steps; see ``normed``.
    """
    post_norm = block.cfg.original_architecture in POST_NORM_ARCHITECTURES
    entering, mlp = residual if post_norm else normed(block.ln2, residual, fused=fused), block.mlp
    if not isinstance(mlp, GatedMLP):
        return mlp.hook_post(mlp.act_fn(mlp.hook_pre(batch_addmm(mlp.b_in, mlp.W_in, entering))))
    gate = _activated(mlp, mlp.hook_pre(functional.linear(entering, mlp.W_gate.T.contiguous())))
    linear = mlp.hook_pre_linear(functional.linear(entering, mlp.W_in.T.contiguous()))
    # In place where nobody needs the parts again: on a CPU a fresh tensor of this size costs as much as the product.
    m = gate * linear if gate.requires_grad or linear.requires_grad else gate.mul_(linear)
    bias = bias_of(mlp.b_in)
    return mlp.hook_post(m if bias is None else m + bias)


def _activated(mlp: GatedMLP, gate: Float[Tensor, "batch pos d_mlp"]) -> Float[Tensor, "batch pos d_mlp"]:
    in_place = mlp.act_fn is functional.silu and not gate.requires_grad and not mlp.hook_pre.fwd_hooks
    return functional.silu(gate, inplace=True) if in_place else mlp.act_fn(gate)


def mlp_output(
    block: TransformerBlock, coefficients: Float[Tensor, "batch pos d_mlp"]
) -> Float[Tensor, "batch pos d_model"]:
    """M^l = m^l W_V^l (+ b): what the MLP adds to the residual stream, norms after it included; no hook sees it yet."""
    mlp = block.mlp
    if isinstance(mlp, GatedMLP):
        out = functional.linear(coefficients, mlp.W_out.T.contiguous(), bias_of(mlp.b_out))
    else:
        out = batch_addmm(mlp.b_out, mlp.W_out, coefficients)
    if block.cfg.use_normalization_before_and_after:
        out = block.ln2_post(out)
    if block.cfg.original_architecture in POST_NORM_ARCHITECTURES:
        out = block.ln2(out)
    return out
