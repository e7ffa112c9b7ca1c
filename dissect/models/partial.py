"""Forward passes that leave out what is known beforehand.

A sweep overwrites activations by others that are known before the pass begins. What only leads up to an overwritten
activation need not be computed: with a layer's attention output given its attention is skipped, with the coefficients
given only the value vectors are multiplied, with both outputs given the layer costs an addition. The numbers are those
of the full pass, because every operation that is left is the same operation on the same shapes.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformer_lens import HookedTransformer
from transformer_lens.components import TransformerBlock
from transformer_lens.components.mlps.gated_mlp import GatedMLP
from transformer_lens.utilities.addmm import batch_addmm
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from dissect.models.attention import attend, bias_of

Given = Mapping[str, Tensor]
"""Whole activations by full hook name, such as ``blocks.3.hook_attn_out``."""

Products = dict[tuple[int, int], tuple[Tensor, Tensor]]
"""MLP outputs that several passes share: (layer, identity of the coefficients) to (coefficients, output)."""

GIVABLE = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_post")
"""The hooks of a block, after ``blocks.{l}.``, whose activation may be given."""


def run_layers(
    model: HookedTransformer,
    residual: Float[Tensor, "batch pos d_model"],
    *,
    start: int,
    given: Given | None = None,
    products: Products | None = None,
    fused_attention: bool = True,
) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream after the last block, from the one before block ``start``.

    Args:
        given: activations that replace what the model would compute. What stands nearer to the end wins: with a
            residual stream given, nothing before it is run. Hooks of parts that are left out do not fire.
        products: where the MLP outputs that belong to given coefficients are kept for the next pass with the same
            tensors and the same weights; by layer and identity of the coefficients.
        fused_attention: compute attention in one fused operation where nothing hooks scores or patterns and the
            architecture allows it. It differs from the open computation by rounding, so a comparison of two passes
            wants the same choice in both.
    """
    given = given or {}
    start, residual = _latest(given, residual, start, model.cfg.n_layers)
    for layer in range(start, model.cfg.n_layers):
        prefix = f"blocks.{layer}."
        known = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
        coefficients = known.get("mlp.hook_post")
        if products is not None and coefficients is not None and "hook_mlp_out" not in known:
            block = model.blocks[layer]
            key = (layer, id(coefficients))
            if key not in products:  # the coefficients are kept too: their identity stays theirs while they live
                products[key] = coefficients, mlp_output(block, coefficients)
            known["hook_mlp_out"] = block.hook_mlp_out(products[key][1])
        residual = _block(model.blocks[layer], residual, known, fused_attention)
    return residual


def mlp_output(
    block: TransformerBlock, coefficients: Float[Tensor, "batch pos d_mlp"]
) -> Float[Tensor, "batch pos d_model"]:
    """M^l = m^l W_V^l (+ b): what the MLP adds to the residual stream, from its coefficients."""
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


def _coefficients(
    block: TransformerBlock, residual: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch pos d_mlp"]:
    """m^l, from the residual stream that the MLP reads."""
    post_norm = block.cfg.original_architecture in POST_NORM_ARCHITECTURES
    entering, mlp = residual if post_norm else block.ln2(residual), block.mlp
    if not isinstance(mlp, GatedMLP):
        return mlp.hook_post(mlp.act_fn(mlp.hook_pre(batch_addmm(mlp.b_in, mlp.W_in, entering))))
    gate = mlp.act_fn(mlp.hook_pre(functional.linear(entering, mlp.W_gate.T.contiguous())))
    linear = mlp.hook_pre_linear(functional.linear(entering, mlp.W_in.T.contiguous()))
    bias = bias_of(mlp.b_in)
    return mlp.hook_post(gate * linear if bias is None else gate * linear + bias)


def _latest(
    given: Given, residual: Float[Tensor, "batch pos d_model"], start: int, n_layers: int
) -> tuple[int, Float[Tensor, "batch pos d_model"]]:
    for layer in reversed(range(start, n_layers)):
        if (after := given.get(f"blocks.{layer}.hook_resid_post")) is not None:
            return layer + 1, after
        if f"blocks.{layer}.hook_resid_mid" in given:
            return layer, residual  # the block itself begins in its middle
        if (before := given.get(f"blocks.{layer}.hook_resid_pre")) is not None:
            return layer, before
    return start, residual


def _block(
    block: TransformerBlock,
    residual: Float[Tensor, "batch pos d_model"],
    known: Given,
    fused_attention: bool,
) -> Float[Tensor, "batch pos d_model"]:
    """One block; the order of operations and hooks is that of TransformerLens's own."""
    before = block.hook_resid_pre(residual)
    parallel = block.cfg.parallel_attn_mlp
    if "hook_resid_mid" in known:
        middle = known["hook_resid_mid"]
    else:
        attn_out = known["hook_attn_out"] if "hook_attn_out" in known else _attn_out(block, before, fused_attention)
        middle = before + attn_out if parallel else block.hook_resid_mid(before + attn_out)
    if "hook_mlp_out" in known:
        mlp_out = known["hook_mlp_out"]
    elif "mlp.hook_post" in known:
        mlp_out = block.hook_mlp_out(mlp_output(block, known["mlp.hook_post"]))
    else:
        mlp_out = block.hook_mlp_out(mlp_output(block, _coefficients(block, before if parallel else middle)))
    return block.hook_resid_post(middle + mlp_out)


def _attn_out(
    block: TransformerBlock, residual: Float[Tensor, "batch pos d_model"], fused: bool
) -> Float[Tensor, "batch pos d_model"]:
    post_norm = block.cfg.original_architecture in POST_NORM_ARCHITECTURES
    entering = residual if post_norm else block.ln1(residual)  # once: TransformerLens norms for q, k and v apart
    out = attend(block.attn, entering, fused=fused)
    if block.cfg.use_normalization_before_and_after:
        out = block.ln1_post(out)
    if post_norm:
        out = block.ln1(out)
    return block.hook_attn_out(out)
