"""Running a HookedTransformer in parts: from any layer on, and with logits only where they are scored."""

from collections.abc import Collection, Iterator
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities.activation_functions import apply_softcap

from dissect.errors import DissectError
from dissect.models.changing.hooked import hooked
from dissect.models.running.attention import bias_of
from dissect.models.sharding.sharded import is_sharded, within
from dissect.undoing.change import undone


def final_residual(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """Return the residual stream after the last block, from right-padded tokens.

    No mask is needed: under causal attention a real token never sees the padding on its right. The padding side is
    stated because TransformerLens otherwise takes it from the tokenizer and, for "left", masks every token that happens
    to equal the padding token.
    """
    return model(tokens, stop_at_layer=model.cfg.n_layers, padding_side="right")


def embed(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """Return the residual stream before the first block; see ``final_residual`` for the padding."""
    # not by a call of a sharded model, which would let its parameters go within a larger pass that still needs them
    run = model.forward if is_sharded(model) else model
    return within(model, partial(run, stop_at_layer=0, padding_side="right"), tokens)  # (batch, pos, d_model)


def normed_final(model: HookedTransformer, residual: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """Return what the unembedding reads: the final norm of the residual stream after the last block."""
    return within(model, lambda x: model.unembed.hook_in(model.ln_final(x)), residual)


def unembedded(model: HookedTransformer, entering: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Return logits, in float32 at least, from what ``normed_final`` gives: unembedding and soft cap."""
    # The unembedding may be sharded apart from the rest: its own weights are gathered within the model's.
    return within(model, within, model.unembed, _unembedded, model, entering)


def _unembedded(model: HookedTransformer, entering: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    # W_U is (d_model, d_vocab), but lies in memory as checkpoints store it: the transpose is no copy.
    unembed = model.unembed
    logits = functional.linear(entering, unembed.W_U.T.contiguous(), bias_of(unembed.b_U))  # (rows, d_vocab)
    logits = unembed.hook_out(logits)
    logits = apply_softcap(logits, model.cfg.output_logits_soft_cap)
    return logits if logits.dtype == torch.float64 else logits.float()


def read_out(
    model: HookedTransformer, residual: Float[Tensor, "rows pos d_model"]
) -> Float[Tensor, "rows pos d_vocab"]:
    """Return logits, in float32 at least, from the last residual stream: final norm, unembedding, soft cap."""
    return within(model, lambda x: unembedded(model, normed_final(model, x)), residual)


def logits_at(
    model: HookedTransformer, residual: Float[Tensor, "batch pos d_model"], where: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "scored d_vocab"]:
    """Return logits at the positions ``where``, row by row, from the residual stream after the last block.

    The unembedding is the largest matrix of a small model, and answers are a fraction of the text: the final norm and
    the unembedding therefore see the chosen positions alone.
    """
    return read_out(model, residual[where][None])[0]  # (scored, d_model), then (scored, d_vocab)


@undone
def caching(model: HookedTransformer, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the activations at the hooks ``names`` of every forward pass in the body, detached.

    Raises:
        DissectError: the model has no hook of one of the names.
    """
    # Filled anew by each pass: a later one overwrites what an earlier one left.
    cache: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: HookPoint) -> None:
        assert hook.name is not None
        cache[hook.name] = activation.detach()

    with hooked(model, [(check_hook(model, name), keep) for name in names]):
        yield cache


def check_hook(model: HookedTransformer, name: str) -> str:
    """Return ``name`` if the model has such a hook.

    Raises:
        DissectError: it has not; the message names the hooks that end alike.
    """
    if name not in model.hook_dict:
        last = name.rsplit(".", 1)[-1]
        alike = [known for known in model.hook_dict if known.endswith(last)][:3]
        hint = f"it has {', '.join(alike)}, ..." if alike else "see model.hook_dict for those it has"
        raise DissectError(f"the model has no activation {name!r}: {hint}")
    return name
