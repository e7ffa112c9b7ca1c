"""Activation sites: the words of the papers for the hooks of a hooked model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dissect.errors import DissectError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


@dataclass(frozen=True)
class Site:
    """One kind of activation, of which every layer has one."""

    hook: str
    """Full name: ``blocks.{layer}.{hook}``."""
    meaning: str
    head_axis: int | None = None
    """Axis of the heads; None for activations of no head."""


SITES: Mapping[str, Site] = {
    "mlp_post": Site("mlp.hook_post", "coefficients m: the input of down_proj, after gate and activation"),
    "attn_out": Site("hook_attn_out", "attention state A: what attention adds to the residual stream"),
    "mlp_out": Site("hook_mlp_out", "what the MLP adds to the residual stream"),
    "resid_pre": Site("hook_resid_pre", "residual stream before the layer"),
    "resid_mid": Site("hook_resid_mid", "residual stream between attention and MLP"),
    "resid_post": Site("hook_resid_post", "residual stream after the layer"),
    "z": Site("attn.hook_z", "weighted values of each head, before the output projection", 2),
    "q": Site("attn.hook_q", "queries of each head, before the rotation", 2),
    "k": Site("attn.hook_k", "keys of each key/value head, before the rotation", 2),
    "v": Site("attn.hook_v", "values of each key/value head", 2),
    "pattern": Site("attn.hook_pattern", "attention weights of each head", 1),
}
"""Every activation that can be swapped, by the name that users give."""

Component = str | tuple[str, ...]
"""A site, or several that are swapped together."""


def hook_name(site: str, layer: int) -> str:
    """Full name of the hook of ``site`` in ``layer``."""
    return f"blocks.{layer}.{SITES[site].hook}"


def sites_of(*, parallel: bool) -> list[str]:
    """The sites of an architecture; one with parallel attention and MLP has no residual stream between them."""
    return [site for site in SITES if not (parallel and site == "resid_mid")]


def available(model: "HookedTransformer") -> list[str]:
    """The sites that this architecture has; one with parallel attention and MLP has no ``resid_mid``."""
    return [site for site in SITES if hook_name(site, 0) in model.hook_dict]


def check_components(
    model: "HookedTransformer", components: Component | Sequence[Component]
) -> dict[str, tuple[str, ...]]:
    """Label to sites for each component; a joint component's label joins its sites with ``+``.

    A site may be given twice in different components but not within one; ``"mlp_post+attn_out"`` is the same as the
    tuple.

    Raises:
        DissectError: a site that does not exist, here or in this architecture.
    """
    if isinstance(components, str):
        components = (components,)
    checked: dict[str, tuple[str, ...]] = {}
    for component in components:
        sites = tuple(component.split("+")) if isinstance(component, str) else tuple(component)
        for site in sites:
            if site not in SITES:
                raise DissectError(f"no activation site {site!r}: choose from {', '.join(SITES)}")
            if site not in available(model):
                raise DissectError(
                    f"this architecture has no activation site {site!r}: it has {', '.join(available(model))}"
                )
        label = "+".join(sites)
        if len(set(sites)) != len(sites) or not sites:
            raise DissectError(f"component {label!r} names a site twice or none at all")
        if label in checked:
            raise DissectError(f"components names {label!r} twice")
        checked[label] = sites
    if not checked:
        raise DissectError("components=[] leaves nothing to sweep: name at least one")
    return checked


def n_heads(model: "HookedTransformer", site: str) -> int | None:
    """Number of heads of the activation: grouped key/value heads count once; None where it has none."""
    if SITES[site].head_axis is None:
        return None
    grouped = model.cfg.n_key_value_heads
    return grouped if site in ("k", "v") and grouped is not None else model.cfg.n_heads
