"""The blocks that a search may restore."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.block_names import OUTSIDE_BLOCKS
from dissect.models.parameters import (
    in_checkpoint,
    layer_block_parameters,
    outside_block_parameters,
    stored_layer_blocks,
    stored_outside_blocks,
)
from dissect.restoration.blocks import BlockAt
from dissect.sweep.grid import check_unique, windows


@dataclass(frozen=True)
class Candidate:
    """One block in one layer, or one outside the layers."""

    part: BlockAt
    names: tuple[str, ...]
    """Names of its parameters, without those that the checkpoint does not have."""
    n_weights: int


def candidates_of(
    model: HookedTransformer, blocks: Sequence[str] | None, layers: Sequence[int] | None
) -> list[Candidate]:
    """Every block asked for, in every layer asked for; by default all that together make up the checkpoint.

    Raises:
        DissectError: a block or layer that does not exist, or two blocks that hold the same parameter.
    """
    inside, outside = stored_layer_blocks(model), stored_outside_blocks(model)
    wanted = (*inside, *outside) if blocks is None else tuple(blocks)
    check_unique(wanted, "blocks")
    stored = frozenset(in_checkpoint(model))
    layer_numbers = [layer for _, members in windows(layers, 1, model.cfg.n_layers) for layer in members]
    candidates: list[Candidate] = []
    for block in wanted:
        if block in OUTSIDE_BLOCKS:
            candidates.append(_candidate(model, block, outside_block_parameters(model, block), stored))
        else:
            candidates += [
                _candidate(model, (layer, block), layer_block_parameters(model, block, layer), stored)
                for layer in layer_numbers
            ]
    names = [name for candidate in candidates for name in candidate.names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DissectError(f"blocks={list(wanted)}: two of them hold {twice[0]}, a set could not tell them apart")
    return [candidate for candidate in candidates if candidate.names]


def in_random_layers(
    members: Sequence[Candidate], everything: Sequence[Candidate], n_sets: int, seed: int
) -> list[tuple[Candidate, ...]]:
    """Draw sets of as many blocks of the same kinds in random layers; blocks outside the layers stay.

    Never the set itself: where there are no others, there are none.
    """
    generator = np.random.default_rng(seed)
    outside = tuple(candidate for candidate in members if isinstance(candidate.part, str))
    counts = Counter(candidate.part[1] for candidate in members if not isinstance(candidate.part, str))
    alike = {
        kind: [
            candidate for candidate in everything if not isinstance(candidate.part, str) and candidate.part[1] == kind
        ]
        for kind in counts
    }
    if all(count == len(alike[kind]) for kind, count in counts.items()):
        return []
    sets: list[tuple[Candidate, ...]] = []
    while len(sets) < n_sets:
        drawn = outside
        for kind, count in counts.items():
            drawn += tuple(alike[kind][number] for number in sorted(generator.permutation(len(alike[kind]))[:count]))
        if set(drawn) != set(members):
            sets.append(drawn)
    return sets


def _candidate(model: HookedTransformer, part: BlockAt, names: Sequence[str], stored: frozenset[str]) -> Candidate:
    kept = tuple(name for name in names if name in stored)
    return Candidate(part, kept, sum(model.get_parameter(name).numel() for name in kept))
