"""Parameter blocks: the words of the papers (value vectors, keys, attention) for the names of parameters."""

from collections.abc import Iterable, Sequence

from dissect.errors import DissectError

EMBEDDING = -1
"""The layer number of what comes before the first block."""

_MATRICES = {
    "mlp.W_out": ("mlp.W_out",),
    "mlp.W_in": ("mlp.W_in",),
    "mlp.W_gate": ("mlp.W_gate",),
    "attn.W_Q": ("attn.W_Q",),
    "attn.W_K": ("attn.W_K", "attn._W_K"),  # the underscore: grouped heads, stored once a group
    "attn.W_V": ("attn.W_V", "attn._W_V"),
    "attn.W_O": ("attn.W_O",),
}
_PARTS = {"mlp": ("mlp.",), "attn": ("attn.",), "ln": ("ln1.", "ln2.", "ln1_post.", "ln2_post."), "block": ("",)}
_OTHERS = {"attn.other": "attn.", "mlp.other": "mlp."}
"""Parameters of a part without its matrices: biases, norms of queries and keys."""
_OUTSIDE = {"embed": EMBEDDING, "pos_embed": EMBEDDING, "ln_final": None, "unembed": None}

LAYER_BLOCKS: tuple[str, ...] = (*_MATRICES, *_OTHERS, *_PARTS)
"""Blocks that every layer has one of (``mlp.W_gate`` only where the MLP is gated)."""
PARTITION: tuple[str, ...] = (*_MATRICES, *_OTHERS, "ln")
"""Those that together hold every parameter of a layer once."""
OUTSIDE_BLOCKS: tuple[str, ...] = tuple(_OUTSIDE)
"""Blocks outside the layers."""


def names_in_layer(block: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of a layer's parameters, named without the prefix of the layer, that are in ``block``.

    Raises:
        DissectError: an unknown block, or one that this architecture does not have.
    """
    if block not in LAYER_BLOCKS:
        hint = " (it stands outside the layers)" if block in _OUTSIDE else ""
        raise DissectError(f"no parameter block {block!r} in a layer{hint}: choose from {', '.join(LAYER_BLOCKS)}")
    if block in _MATRICES:
        kept = tuple(name for name in names if name in _MATRICES[block])
    elif block in _OTHERS:
        matrices = [name for ways in _MATRICES.values() for name in ways]
        kept = tuple(name for name in names if name.startswith(_OTHERS[block]) and name not in matrices)
    else:
        kept = tuple(name for name in names if name.startswith(_PARTS[block]))
    if not kept:
        has = ", ".join(known for known, ways in _MATRICES.items() if set(ways) & set(names))
        raise DissectError(f"this model has no {block!r} in its layers: it has {has}")
    return kept


def names_outside(block: str, names: Iterable[str], *, tied: bool) -> tuple[str, ...]:
    """Those of all parameters that are in a block outside the layers.

    Where embedding and unembedding are tied they are one matrix, and each of the two names stands for both.

    Raises:
        DissectError: an unknown block, or one that this architecture does not have.
    """
    if block not in _OUTSIDE:
        raise DissectError(f"no parameter block {block!r} outside the layers: choose from {', '.join(_OUTSIDE)}")
    wanted = ("embed.", "unembed.") if block in ("embed", "unembed") and tied else (f"{block}.",)
    kept = tuple(name for name in names if name.startswith(wanted))
    if not kept:
        raise DissectError(f"this model has no parameters in {block!r}")
    return kept
