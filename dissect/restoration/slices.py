"""Parts of a block: heads, neurons, singular directions of its change, points on the way to the donor."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.axes import HEADED, NEURONED
from dissect.patching.sites import SITES, n_heads
from dissect.restoration.blend import Between, Factors, Heads, LowRank, Mix, Neurons
from dissect.restoration.blocks import Swapped
from dissect.sweep.grid import Group, Label, groups


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Slices of the blocks that a sweep goes over; each that is given is a dimension of the result."""

    heads: str | int | Sequence[Group] | None = None
    """``each``, or heads or groups of them, of attention's matrices; key/value heads as the model stores them."""
    neurons: str | int | Sequence[Group] | None = None
    """``each``, or neurons or groups of them, of the MLP's matrices: rows of ``mlp.W_out`` are value vectors."""
    rank: int | Sequence[int] | None = None
    """Ranks of the change that is put in: its first k singular directions."""
    t: float | int | Sequence[float | int] | None = None
    """Points on the way from the recipient (0) to the donor (1)."""

    @property
    def any(self) -> bool:
        """True if anything but whole blocks is asked for."""
        return any(part is not None for part in (self.heads, self.neurons, self.rank, self.t))


@dataclass(frozen=True)
class BlockSlice:
    """One combination of parts."""

    coords: dict[str, Label]
    steps: tuple[Mix, ...]
    heads: tuple[int, ...] | None
    neurons: tuple[int, ...] | None


def check_slices(model: HookedTransformer, components: Sequence[Swapped], wanted_slices: Slices) -> None:
    """Refuse parts that a component does not have.

    Raises:
        DissectError: names what there is.
    """
    for component in components:
        for what, known, wanted in (
            ("heads", HEADED, wanted_slices.heads),
            ("neurons", NEURONED, wanted_slices.neurons),
        ):
            without = [block for block in (*component.blocks, *component.outside) if block not in known]
            if wanted is not None and without:
                raise DissectError(f"{without[0]!r} cannot be cut into {what}: those that can are {', '.join(known)}")
        headless = [site for site in component.sites if SITES[site].head_axis is None]
        if wanted_slices.heads is not None and headless:
            raise DissectError(f"{headless[0]!r} has no heads: leave it out of {component.label!r}")
        others = [site for site in component.sites if site != "mlp_post"]
        if wanted_slices.neurons is not None and others:
            raise DissectError(f"{others[0]!r} has no neurons: leave it out of {component.label!r}")


def slices(model: HookedTransformer, components: Sequence[Swapped], wanted: Slices) -> Iterator[BlockSlice]:
    """Every combination of the parts asked for; one of whole blocks where nothing is.

    Raises:
        DissectError: a part that does not exist.
    """
    check_slices(model, components, wanted)
    ranks, points = _ranks(wanted.rank), _points(wanted.t)
    heads = [(None, None)] if wanted.heads is None else groups(wanted.heads, _n_heads(model, components), "head")
    neurons = [(None, None)] if wanted.neurons is None else groups(wanted.neurons, model.cfg.d_mlp, "neuron")
    factors = Factors(max((rank for rank in ranks if rank is not None), default=0))
    for (head, head_group), (neuron, neuron_group), rank, t in product(heads, neurons, ranks, points):
        labels = {"head": head, "neurons": neuron, "low_rank": rank, "t": t}
        steps: list[Mix] = []
        if rank is not None:
            steps.append(LowRank(rank, factors))
        if t is not None:
            steps.append(Between(t))
        if head_group is not None:
            steps.append(Heads(head_group))
        if neuron_group is not None:
            steps.append(Neurons(neuron_group))
        coords: dict[str, Label] = {dim: label for dim, label in labels.items() if label is not None}
        yield BlockSlice(coords, tuple(steps), head_group, neuron_group)


def single_slice(model: HookedTransformer, parts: Sequence[str], wanted: Slices) -> tuple[Mix, ...]:
    """The steps of the one combination that a context or a transplant makes."""
    combinations = list(slices(model, [Swapped("+".join(parts), tuple(parts), (), ())], wanted))
    return combinations[0].steps


def _n_heads(model: HookedTransformer, components: Sequence[Swapped]) -> int:
    """The number of heads, which has to be the same in all that is swapped."""
    grouped = model.cfg.n_key_value_heads or model.cfg.n_heads
    counts = {
        block: grouped if block in ("attn.W_K", "attn.W_V") else model.cfg.n_heads
        for component in components
        for block in component.blocks
    }
    counts |= {site: n_heads(model, site) for component in components for site in component.sites}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DissectError(f"these have different numbers of heads ({shown}): sweep them apart")
    return int(next(iter(counts.values())))


def _ranks(wanted: int | Sequence[int] | None) -> list[int | None]:
    if wanted is None:
        return [None]
    ranks = [wanted] if isinstance(wanted, int) else list(wanted)
    if not ranks or len(set(ranks)) != len(ranks) or any(rank < 1 for rank in ranks):
        raise DissectError(f"rank={ranks}: give ranks of 1 or more, none twice, for instance [1, 4, 16]")
    return list(ranks)


def _points(wanted: float | int | Sequence[float | int] | None) -> list[float | None]:
    if wanted is None:
        return [None]
    points = [float(point) for point in ([wanted] if isinstance(wanted, (int, float)) else wanted)]
    if not points or len(set(points)) != len(points) or not all(math.isfinite(point) for point in points):
        raise DissectError(f"t={points}: give numbers, none twice, from 0 (the recipient) to 1 (the donor)")
    return list(points)
