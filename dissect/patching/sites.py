"""Activation sites: the words of the papers for the hooks of a hooked model."""

from collections.abc import Sequence

from transformer_lens import HookedTransformer

from dissect.errors import DissectError

HOOKS = {
    "mlp_post": "mlp.hook_post",  # coefficients m^l: the input of down_proj, after gate and activation
    "attn_out": "hook_attn_out",  # attention state A^l: what attention adds to the residual stream
}
"""Component to hook within a block. Its ``hook`` is ``blocks.{layer}.{hook}``."""

Component = str | tuple[str, ...]
"""A site, or several that are swapped together."""


def hook_name(site: str, layer: int) -> str:
    """Full name of the hook of ``site`` in ``layer``."""
    return f"blocks.{layer}.{HOOKS[site]}"


def check_components(model: HookedTransformer, components: Sequence[Component]) -> dict[str, tuple[str, ...]]:
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
            if site not in HOOKS:
                raise DissectError(f"no activation site {site!r}: choose from {', '.join(HOOKS)}")
            if hook_name(site, 0) not in model.hook_dict:
                has = ", ".join(known for known in HOOKS if hook_name(known, 0) in model.hook_dict)
                raise DissectError(f"this architecture has no activation site {site!r}: it has {has}")
        label = "+".join(sites)
        if len(set(sites)) != len(sites) or not sites:
            raise DissectError(f"component {label!r} names a site twice or none at all")
        if label in checked:
            raise DissectError(f"components names {label!r} twice")
        checked[label] = sites
    if not checked:
        raise DissectError("components=[] leaves nothing to sweep: name at least one")
    return checked
