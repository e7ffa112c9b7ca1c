"""Parameter sweeps, and restoring or transplanting parameters outside of a sweep."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.checkpoint import mark_changed
from dissect.models.comparable import check_same_shapes
from dissect.models.pair import ModelPair
from dissect.models.parameters import OUTSIDE_BLOCKS, layer_block_parameters, outside_block_parameters
from dissect.restoration.swap import Parameters, ParameterSwap
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, Layers, check_unique, windows
from dissect.sweep.result import SweepResult
from dissect.sweep.sweep import Options, sweep

THE_PAPERS = ("mlp.W_out",)
"""Value vectors W_V: the parameter curve of Hong et al. (2024)."""


def restore(
    pair: ModelPair,
    prompts: Prompts,
    blocks: Sequence[str] = THE_PAPERS,
    *,
    window: int = 5,
    layers: Layers | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    **options: Any,
) -> SweepResult:
    """Put parameters of ``donor`` into ``recipient``, for every block and centre layer, and measure.

    With the defaults: do the base model's value vectors bring the knowledge back (Hong et al., EMNLP 2024)? Recovery
    1 is the donor's behaviour, 0 the recipient's own. The recipient is left as it was, bit for bit.

    Args:
        blocks: parameter blocks of a layer, such as ``mlp.W_out``, ``attn``, ``block``.
        window, layers, donor, recipient, options: as in ``dissect.patch``.

    Returns:
        a result with dimensions (component, layer, prompt); the components are the blocks.

    Raises:
        DissectError: something asked for does not exist; before any model runs.
    """
    blocks = (blocks,) if isinstance(blocks, str) else tuple(blocks)
    check_unique(blocks, "blocks")
    giver, taker = pair.shapes(donor, recipient)
    how, parameters = Options(**options), Parameters(giver)
    cells = [
        Cell(block, centre, members, ParameterSwap(parameters, _layers_parameters(taker, [block], members)))
        for block in blocks
        for centre, members in windows(layers, window, taker.cfg.n_layers)
    ]
    spec = {"kind": "parameters", "window": window, "donor": donor, "recipient": recipient}
    source = Donor(giver, how.cache)
    return sweep(pair, taker, source, prompts, cells, how, others=[parameters], spec=spec)


@contextmanager
def restored(
    model: HookedTransformer, donor: HookedTransformer, *, blocks: Sequence[str], layers: Iterable[int] | None = None
) -> Iterator[HookedTransformer]:
    """``model`` with the donor's ``blocks`` in ``layers`` (all by default), in the body only.

    Blocks outside the layers (``embed``, ``unembed``, ``ln_final``, ``pos_embed``) take no part in ``layers``. Undone
    to the bit afterwards, also after an exception or Ctrl-C.
    """
    check_same_shapes(model, donor)
    with ParameterSwap(Parameters(donor), _named_parameters(model, blocks, layers)).applied(model):
        yield model


def transplant(
    pair: ModelPair,
    *,
    blocks: Sequence[str],
    layers: Iterable[int] | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
) -> HookedTransformer:
    """A new model: the recipient with the donor's ``blocks`` in ``layers``. ``dissect.save_hf`` writes it."""
    giver, taker = pair.roles(donor, recipient)
    names = _named_parameters(taker, blocks, layers)
    fixed = copy.deepcopy(taker)
    with torch.no_grad():
        for name in names:
            fixed.get_parameter(name).copy_(giver.get_parameter(name))
    mark_changed(fixed, f"{names} of {pair.provenance().get(f'{donor}_fingerprint')}")
    return fixed


def _named_parameters(model: HookedTransformer, blocks: Sequence[str], layers: Iterable[int] | None) -> tuple[str, ...]:
    blocks = (blocks,) if isinstance(blocks, str) else tuple(blocks)
    check_unique(blocks, "blocks")
    inside = [block for block in blocks if block not in OUTSIDE_BLOCKS]
    chosen = [layer for _, members in windows(layers, 1, model.cfg.n_layers) for layer in members] if inside else []
    names = list(_layers_parameters(model, inside, chosen))
    for block in blocks:
        if block in OUTSIDE_BLOCKS:
            names.extend(outside_block_parameters(model, block))
    return tuple(dict.fromkeys(names))


def _layers_parameters(model: HookedTransformer, blocks: Sequence[str], layers: Iterable[int]) -> tuple[str, ...]:
    found = [name for layer in layers for block in blocks for name in layer_block_parameters(model, block, layer)]
    return tuple(dict.fromkeys(found))
