"""A second model with the same weights."""

import copy

from transformer_lens import HookedTransformer

from dissect.models.build import build_empty
from dissect.models.checkpoint import checkpoint_of
from dissect.models.families import find_family
from dissect.models.files.load_sharded import materialise
from dissect.models.files.tokenizer import attach_tokenizer
from dissect.models.sharding.sharded import is_sharded, shard
from dissect.models.sharding.shards import put
from dissect.undoing.gradient_mode import without_gradients


@without_gradients()
def copied(model: HookedTransformer) -> HookedTransformer:
    """A copy that shares no memory with ``model``; of a sharded one, sharded in the same way.

    Hooks that are set are not copied where the model is sharded.
    """
    if not is_sharded(model):
        return copy.deepcopy(model)
    info = checkpoint_of(model)
    cfg = copy.deepcopy(model.cfg)
    compute, stored = cfg.dtype, next(model.parameters()).dtype
    cfg.dtype = stored
    fresh = build_empty(find_family(info.config), cfg, tied=info.tied)
    shard(fresh, model.sharding.mesh, compute_dtype=None if compute == stored else compute)
    materialise(fresh, model.embed.W_E.device)
    theirs = dict(model.named_parameters())
    for name, parameter in fresh.named_parameters():
        put(parameter, theirs[name])
        parameter.requires_grad_(theirs[name].requires_grad)
    if model.tokenizer is not None:
        attach_tokenizer(fresh, model.tokenizer)
    fresh.checkpoint = info
    return fresh
