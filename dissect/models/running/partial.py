"""Forward passes that leave out what is known beforehand; `sweep.runner` decides where a cell begins.

A sweep overwrites activations by others that are known before the pass begins. What only leads up to an overwritten
activation need not be computed: with a layer's attention output given its attention is skipped, with the coefficients
given only the value vectors are multiplied, with both outputs given the layer costs an addition. The numbers are those
of the full pass, because every operation that is left is the same operation on the same shapes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformer_lens import HookedTransformer
from transformer_lens.components import TransformerBlock
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from dissect.models.running.attention import attend
from dissect.models.running.mlp import coefficients, mlp_output
from dissect.models.running.norms import normed
from dissect.models.sharding.sharded import within

Given = Mapping[str, Tensor]
"""Whole activations by full hook name, such as ``blocks.3.hook_attn_out``."""

Products = dict[tuple[int, int], tuple[Tensor, Tensor]]
"""MLP outputs that several passes share: (layer, identity of the coefficients) to (coefficients, output)."""

Residual = Float[Tensor, "batch pos d_model"]

GIVABLE = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_post")
"""The hooks of a block, after ``blocks.{l}.``, whose activation may be given."""


@dataclass(frozen=True)
class Pass:
    """Start of a forward pass, and what of it is known."""

    residual: Residual
    """The residual stream before block ``start``."""
    start: int
    given: Given = field(default_factory=dict)
    """Activations that replace what the model would compute. What stands nearer to the end wins: with a residual
    stream given, nothing before it is run. Hooks of parts that are left out do not fire."""


def run_layers(
    model: HookedTransformer,
    residual: Residual,
    *,
    start: int,
    given: Given | None = None,
    fused_attention: bool = True,
) -> Residual:
    """Return the residual stream after the last block, from the one before block ``start``; see ``run_passes``."""
    return run_passes(model, [Pass(residual, start, given or {})], fused_attention=fused_attention)[0]


def run_block(block: TransformerBlock, residual: Residual, *, checkpointing: bool = False) -> Residual:
    """Run one block, with fused attention where that is possible; its hooks fire as ever.

    With ``checkpointing`` the backward pass computes it again, and its hooks fire twice.
    """
    if checkpointing:
        return within(block, partial(checkpoint, use_reentrant=False), _alone, block, residual)
    return within(block, _alone, block, residual)


def run_passes(
    model: HookedTransformer,
    passes: Sequence[Pass],
    *,
    products: Products | None = None,
    fused_attention: bool = True,
) -> list[Residual]:
    """Return the residual streams after the last block of several passes, run side by side layer by layer.

    What several of them have to compute in a layer is computed for all of them at once, as rows of one batch. One
    pass alone is computed on its own shapes; several together agree with that up to rounding.

    Args:
        products: where the MLP outputs that belong to given coefficients are kept for later passes with the same
            tensors and the same weights.
        fused_attention: compute attention in one fused operation where nothing hooks scores or patterns and the
            architecture allows it. It differs from the open computation by rounding, so a comparison of two passes
            wants the same choice in both.
    """
    # Where each pass really begins: a residual stream given further up makes everything before it unnecessary.
    n_layers = model.cfg.n_layers
    begun = [_beginning(each, n_layers) for each in passes]  # (layer, residual), one a pass
    states = [residual for _, residual in begun]  # of each pass, the residual stream before the next layer: (b, pos, d)

    # Climb layer by layer; a pass joins at the layer where it begins. What a pass is given is taken out of the layer.
    for layer in range(min(start for start, _ in begun), n_layers):
        active = [index for index, (start, _) in enumerate(begun) if start <= layer]
        known = [_known(model, passes[index].given, layer, products) for index in active]
        block, before = model.blocks[layer], [states[index] for index in active]
        after = within(block, _block, block, before, known, fused_attention)
        for index, residual in zip(active, after, strict=True):
            states[index] = residual  # (b, pos, d)
    return states


def _beginning(each: Pass, n_layers: int) -> tuple[int, Residual]:
    """The layer at which a pass has to begin, given what is known, and the residual stream before it."""
    for layer in reversed(range(each.start, n_layers)):
        if (after := each.given.get(f"blocks.{layer}.hook_resid_post")) is not None:
            return layer + 1, after
        if f"blocks.{layer}.hook_resid_mid" in each.given:
            return layer, each.residual  # the block itself begins in its middle
        if (before := each.given.get(f"blocks.{layer}.hook_resid_pre")) is not None:
            return layer, before
    return each.start, each.residual


def _known(model: HookedTransformer, given: Given, layer: int, products: Products | None) -> dict[str, Tensor]:
    """Return what is given in a layer, by hook within the block; with shared products also the output of given
    coefficients."""
    prefix = f"blocks.{layer}."
    known = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}

    # Many cells of a sweep are given the same coefficients: their product with the value vectors is computed once.
    m = known.get("mlp.hook_post")  # (b, pos, d_mlp)
    if products is not None and m is not None and "hook_mlp_out" not in known:
        key = (layer, id(m))
        if key not in products:  # the coefficients are kept too: their identity stays theirs while they live
            block = model.blocks[layer]
            products[key] = m, within(block, mlp_output, block, m)  # (b, pos, d)
        known["hook_mlp_out"] = model.blocks[layer].hook_mlp_out(products[key][1])
    return known


def _alone(block: TransformerBlock, residual: Residual) -> Residual:
    return _block(block, [residual], [{}], True)[0]


def _block(
    block: TransformerBlock, residuals: Sequence[Residual], known: Sequence[Given], fused_attention: bool
) -> list[Residual]:
    """Run one block for several passes; the order of operations and hooks is that of TransformerLens's own."""
    everyone, parallel = range(len(known)), block.cfg.parallel_attn_mlp
    befores = [block.hook_resid_pre(residual) for residual in residuals]  # of each pass: (b, pos, d)

    # Attention: given to some passes; skipped where the middle of the block is given; computed for all others at once.
    attn_outs = {i: known[i]["hook_attn_out"] for i in everyone if "hook_attn_out" in known[i]}
    wanted = [i for i in everyone if i not in attn_outs and "hook_resid_mid" not in known[i]]
    attn_outs |= _together(lambda before: _attn_out(block, before, fused_attention), befores, wanted)  # (b, pos, d)

    # The residual stream between attention and MLP. Parallel blocks have none: there the hook does not fire.
    middles = {i: known[i]["hook_resid_mid"] for i in everyone if "hook_resid_mid" in known[i]}
    for i in attn_outs.keys() - middles.keys():
        middle = befores[i] + attn_outs[i]  # (b, pos, d)
        middles[i] = middle if parallel else block.hook_resid_mid(middle)

    # Coefficients m of the MLP: not needed where its output is given.
    mlp_outs = {i: known[i]["hook_mlp_out"] for i in everyone if "hook_mlp_out" in known[i]}
    ms = {i: known[i]["mlp.hook_post"] for i in everyone if "mlp.hook_post" in known[i]}
    wanted = [i for i in everyone if i not in mlp_outs and i not in ms]
    entering = dict(enumerate(befores)) if parallel else middles  # (b, pos, d)
    ms |= _together(lambda x: coefficients(block, x, fused=fused_attention), entering, wanted)  # (b, pos, d_mlp)

    # Value vectors: the output of the MLP.
    wanted = [i for i in everyone if i not in mlp_outs]
    mlp_outs |= _together(lambda m: block.hook_mlp_out(mlp_output(block, m)), ms, wanted)  # (b, pos, d)
    return [block.hook_resid_post(middles[i] + mlp_outs[i]) for i in everyone]  # of each pass: (b, pos, d)


def _together(
    compute: Callable[[Tensor], Tensor], inputs: Sequence[Tensor] | Mapping[int, Tensor], wanted: Sequence[int]
) -> dict[int, Tensor]:
    """Apply a function to the inputs ``wanted``, as the rows of one batch; by their number."""
    batches = [inputs[i] for i in wanted]  # each (b, ...)
    if len(batches) < 2:  # alone on its own shapes: the same bits as a pass of its own
        return {i: compute(batch) for i, batch in zip(wanted, batches, strict=True)}
    split = compute(torch.cat(batches)).split([len(batch) for batch in batches])  # (passes * b, ...), then (b, ...)
    return dict(zip(wanted, split, strict=True))


def _attn_out(block: TransformerBlock, residual: Residual, fused: bool) -> Residual:
    # Where the norm stands before attention it is taken once: TransformerLens norms for q, k and v apart.
    post_norm = block.cfg.original_architecture in POST_NORM_ARCHITECTURES
    entering = residual if post_norm else normed(block.ln1, residual, fused=fused)  # (b, pos, d)
    out = attend(block.attn, entering, fused=fused)  # (b, pos, d)

    # Norms behind it: Gemma-2 has one of its own, OLMo-2 only this one.
    if block.cfg.use_normalization_before_and_after:
        out = block.ln1_post(out)
    if post_norm:
        out = block.ln1(out)
    return block.hook_attn_out(out)
