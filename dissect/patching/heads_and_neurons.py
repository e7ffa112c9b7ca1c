"""Single heads and single neurons of an activation."""

from collections.abc import Mapping, Sequence

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.patching.sites import SITES, n_heads
from dissect.sweep.grid import Group, Label, groups


def check_heads(
    model: HookedTransformer, components: Mapping[str, tuple[str, ...]], wanted: str | int | Sequence[Group]
) -> list[tuple[Label, tuple[int, ...]]]:
    """Label and members of each group of heads; ``each`` stands for all heads apart.

    Raises:
        DissectError: a site without heads, sites with different numbers of them, or a head that does not exist.
    """
    counts = {site: n_heads(model, site) for sites in components.values() for site in sites}
    headless = [site for site, count in counts.items() if count is None]
    if headless:
        having = ", ".join(site for site, about in SITES.items() if about.head_axis is not None)
        raise DissectError(f"{headless[0]!r} has no heads: those that have are {having}")
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{site} {count}" for site, count in counts.items())
        raise DissectError(f"these sites have different numbers of heads ({shown}): sweep them apart")
    count = next(iter(counts.values()))
    assert count is not None
    return groups(wanted, count, "head")


def check_neurons(
    model: HookedTransformer, components: Mapping[str, tuple[str, ...]], wanted: int | Sequence[Group]
) -> list[tuple[Label, tuple[int, ...]]]:
    """Label and members of each group of neurons.

    Raises:
        DissectError: a component other than ``mlp_post``, or a neuron that does not exist.
    """
    other = [label for label, sites in components.items() if sites != ("mlp_post",)]
    if other:
        raise DissectError(f"neurons are entries of mlp_post: {other[0]!r} cannot be swapped neuron by neuron")
    return groups(wanted, model.cfg.d_mlp, "neuron")
