"""The residual stream as the sum of what was written into it, seen along given directions.

The stream after the last block is x = embedding (+ positional embedding) + Σ_l (attention heads + attention's bias +
MLP). A norm behind a part (Gemma-2, OLMo-2) is linear once its scale is taken as observed: N(a) = w ⊙ C a / s + b with
C the centring (LayerNorm) or the identity (RMS), so a sum of heads goes through it head by head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens import HookedTransformer
from transformer_lens.components import LayerNorm, TransformerBlock
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from dissect.models.changing.hooked import hooked
from dissect.models.modules import OffsetRMSNorm
from dissect.models.running.forward import embed
from dissect.models.running.partial import run_layers
from dissect.models.sharding.sharded import whole, whole_head, within
from dissect.models.sharding.shards import gathered
from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import without_gradients

EMBED, POS_EMBED = "hook_embed", "hook_pos_embed"


@dataclass(frozen=True)
class Parts:
    """Contributions to the residual stream at some positions, as products with one direction a position."""

    embed: Float[Tensor, " scored"]
    pos_embed: Float[Tensor, " scored"] | None
    """None where positions are not added to the stream (rotary)."""
    heads: Float[Tensor, "layer head scored"]
    attn_bias: Float[Tensor, "layer scored"]
    """The part of attention independent of its heads: the bias of its output, through the norm behind it if any."""
    mlp: Float[Tensor, "layer scored"]
    final: Float[Tensor, "scored d_model"]
    """Their sum, the whole stream after the last block, not as a product."""


def high(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def gain(norm: nn.Module) -> Float[Tensor, " d_model"]:
    """w of N(x) = w ⊙ C x / s + b."""
    weight = high(gathered(norm.get_parameter("w")))
    return 1.0 + weight if isinstance(norm, OffsetRMSNorm) else weight


def offset(norm: nn.Module) -> Float[Tensor, " d_model"]:
    """b of N(x) = w ⊙ C x / s + b; zeros where the norm has none."""
    if isinstance(norm, LayerNorm):
        return high(gathered(norm.b))
    return torch.zeros_like(high(gathered(norm.get_parameter("w"))))


def centred(norm: nn.Module, vectors: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
    """C v, with C (its own transpose) of N(x) = w ⊙ C x / s + b."""
    return vectors - vectors.mean(-1, keepdim=True) if isinstance(norm, LayerNorm) else vectors


def target_readout(
    model: HookedTransformer, targets: Int[Tensor, " scored"]
) -> tuple[Float[Tensor, "scored d_model"], Float[Tensor, " scored"]]:
    """Columns of the unembedding and entries of its bias: logit = column · N(x) + bias, before any soft cap."""
    with whole_head(model):
        return high(model.unembed.W_U[:, targets].T), high(model.unembed.b_U[targets])


def mean_readout(model: HookedTransformer) -> tuple[Float[Tensor, " d_model"], Float[Tensor, ""]]:
    """Return column and constant of the mean logit over the vocabulary."""
    with whole_head(model):
        return high(model.unembed.W_U).mean(-1), high(model.unembed.b_U).mean()


def final_norm(
    model: HookedTransformer, residual: Float[Tensor, "scored d_model"]
) -> tuple[Float[Tensor, "scored d_model"], Float[Tensor, " scored"]]:
    """Output of the final norm, and the scale s that it divides by."""
    with _collecting(model, ["ln_final.hook_scale"], None) as seen, whole(model):
        normed = model.ln_final(residual[None])[0]
    return normed, high(seen["ln_final.hook_scale"])[0, :, 0]


@without_gradients()
def written_along(
    model: HookedTransformer,
    tokens: Int[Tensor, "batch pos"],
    where: Bool[Tensor, "batch pos"],
    directions: Float[Tensor, "scored d_model"],
) -> Parts:
    """Run ``model`` and split the stream after the last block at the positions ``where`` along ``directions``.

    Everything but the stream itself is kept as products, so memory grows with parts times positions and not with the
    width of the model.
    """
    layers = range(model.cfg.n_layers)
    names = [EMBED, *(f"blocks.{layer}.{hook}" for layer in layers for hook in ("attn.hook_z", "hook_mlp_out"))]
    names += [f"blocks.{layer}.{name}.hook_scale" for layer in layers if (name := _norm_behind_attention(model))]
    if POS_EMBED in model.hook_dict and model.cfg.positional_embedding_type == "standard":
        names.append(POS_EMBED)
    with _collecting(model, names, where) as seen:
        final = run_layers(model, embed(model, tokens), start=0)[where]

    def along(name: str) -> Float[Tensor, " scored"]:
        return (high(seen[name]) * directions).sum(-1)

    attention = [within(model.blocks[layer], _attention_along, model, layer, seen, directions) for layer in layers]
    return Parts(
        embed=along(EMBED),
        pos_embed=along(POS_EMBED) if POS_EMBED in seen else None,
        heads=torch.stack([heads for heads, _ in attention]),
        attn_bias=torch.stack([bias for _, bias in attention]),
        mlp=torch.stack([along(f"blocks.{layer}.hook_mlp_out") for layer in layers]),
        final=final,
    )


def _attention_along(
    model: HookedTransformer, layer: int, seen: dict[str, Tensor], directions: Float[Tensor, "scored d_model"]
) -> tuple[Float[Tensor, "head scored"], Float[Tensor, " scored"]]:
    block: TransformerBlock = model.blocks[layer]
    constant = torch.zeros_like(directions[:, 0])
    if (name := _norm_behind_attention(model)) is not None:
        norm = getattr(block, name)
        constant = directions @ offset(norm)
        directions = centred(norm, directions * gain(norm)) / high(seen[f"blocks.{layer}.{name}.hook_scale"])
    z = high(seen[f"blocks.{layer}.attn.hook_z"])
    pulled = torch.einsum("hdm,sm->shd", high(block.attn.W_O), directions)
    return (z * pulled).sum(-1).T, directions @ high(block.attn.b_O) + constant


def _norm_behind_attention(model: HookedTransformer) -> str | None:
    if model.cfg.use_normalization_before_and_after:
        return "ln1_post"
    return "ln1" if model.cfg.original_architecture in POST_NORM_ARCHITECTURES else None


@undone
def _collecting(
    model: HookedTransformer, names: list[str], where: Bool[Tensor, "batch pos"] | None
) -> Iterator[dict[str, Tensor]]:
    """Collect activations, at the positions ``where`` alone if given: of a layer's activations few are needed."""
    seen: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: HookPoint) -> None:
        assert hook.name is not None
        seen[hook.name] = activation.detach() if where is None else activation.detach()[where]

    with hooked(model, [(name, keep) for name in names]):
        yield seen
