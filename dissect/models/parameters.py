"""The parameters of a hooked model by block, and which of them its checkpoint has."""

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.block_names import (
    EMBEDDING,
    OUTSIDE_BLOCKS,
    PARTITION,
    names_in_layer,
    names_outside,
)
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.modules import TiedUnembed
from dissect.models.sharding.shards import is_shard


def layer_block_parameters(model: HookedTransformer, block: str, layer: int) -> tuple[str, ...]:
    """Names (as in ``model.named_parameters()``) of the parameters of ``block`` in ``layer``.

    ``mlp.W_out`` and its like are the matrix alone; ``mlp``, ``attn``, ``ln`` and ``block`` are everything of that
    part of the layer, biases included; ``mlp.other`` and ``attn.other`` are what is not one of the matrices.

    Raises:
        DissectError: an unknown block, or one that this architecture does not have.
    """
    if not 0 <= layer < model.cfg.n_layers:
        raise DissectError(f"no layer {layer}: the model has layers 0 to {model.cfg.n_layers - 1}")
    prefix = f"blocks.{layer}."
    names = [name.removeprefix(prefix) for name, _ in model.named_parameters() if name.startswith(prefix)]
    return tuple(prefix + name for name in names_in_layer(block, names))


def outside_block_parameters(model: HookedTransformer, block: str) -> tuple[str, ...]:
    """Names of the parameters of a block outside the layers: ``embed``, ``pos_embed``, ``ln_final``, ``unembed``.

    Where embedding and unembedding are tied they are one matrix, and each of the two names stands for both.

    Raises:
        DissectError: an unknown block, or one that this architecture does not have.
    """
    return names_outside(block, (name for name, _ in model.named_parameters()), tied=tied(model))


def stored_layer_blocks(model: HookedTransformer) -> dict[str, list[tuple[str, ...]]]:
    """Names of the parameters of every block of ``PARTITION`` that the checkpoint has, layer by layer."""
    stored, kept = frozenset(in_checkpoint(model)), {}
    for block in PARTITION:
        try:
            whole = [layer_block_parameters(model, block, layer) for layer in range(model.cfg.n_layers)]
        except DissectError:
            continue  # the architecture has no such block
        names = [tuple(name for name in part if name in stored) for part in whole]
        if any(names):
            kept[block] = names
    return kept


def stored_outside_blocks(model: HookedTransformer) -> dict[str, tuple[str, ...]]:
    """Return the stored blocks outside the layers; an embedding that is also the output head is ``embed`` alone."""
    stored, kept = frozenset(in_checkpoint(model)), {}
    seen: set[str] = set()
    for block in OUTSIDE_BLOCKS:
        try:
            whole = outside_block_parameters(model, block)
        except DissectError:
            continue
        names = tuple(name for name in whole if name in stored and name not in seen)
        seen.update(names)
        if names:
            kept[block] = names
    return kept


def first_layer_of(model: HookedTransformer, names: tuple[str, ...]) -> int:
    """The first layer whose computation the parameters ``names`` enter.

    ``EMBEDDING`` (-1) for the embeddings, ``n_layers`` for the final norm and the unembedding alone.
    """
    return min((_layer_of(model, name) for name in names), default=model.cfg.n_layers)


def tied(model: HookedTransformer) -> bool:
    """Return whether embedding and unembedding are one matrix in memory, as the checkpoint says."""
    if isinstance(model.unembed, TiedUnembed):
        return True
    ours, theirs = model.embed.W_E, model.unembed.W_U  # of a model that was not built here; empty ones share nothing
    if ours.is_meta or is_shard(ours):
        return False
    return ours.untyped_storage().data_ptr() == theirs.untyped_storage().data_ptr()


def in_checkpoint(model: HookedTransformer) -> tuple[str, ...]:
    """Names of the parameters that the checkpoint has, without the zero biases that TransformerLens adds."""
    checkpoint = checkpoint_or_none(model)
    absent = frozenset(checkpoint.frozen) if checkpoint is not None else frozenset()
    return tuple(name for name, _ in model.named_parameters() if name not in absent)


def _layer_of(model: HookedTransformer, name: str) -> int:
    if name.startswith("blocks."):
        return int(name.split(".")[1])
    return EMBEDDING if name.startswith(("embed.", "pos_embed.")) else model.cfg.n_layers
