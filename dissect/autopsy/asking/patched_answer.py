"""The unlearned model's answer with activations of the base model in it, token by token."""

from collections.abc import Collection, Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.pair import ModelPair
from dissect.patching.sites import available, hook_name


def patched_answer(
    pair: ModelPair,
    start: Int[Tensor, " pos"],
    sites: str | Sequence[str],
    layers: Iterable[int] | None,
    *,
    ends: Collection[int],
    max_new_tokens: int,
) -> list[int]:
    """Greedy ids; at each step the base model reads the same text, and its activations replace the unlearned model's.

    Raises:
        DissectError: a site or layer that the model does not have.
    """
    names = [sites] if isinstance(sites, str) else list(sites)
    known, n_layers = available(pair.unlearned), pair.unlearned.cfg.n_layers
    for name in names:
        if name not in known:
            raise DissectError(f"no site {name!r}: choose from {', '.join(known)}")
    chosen = list(range(n_layers)) if layers is None else list(layers)
    if wrong := [layer for layer in chosen if layer not in range(n_layers)]:
        raise DissectError(f"no layer {wrong[0]}: the model has layers 0 to {n_layers - 1}")
    hooks = {hook_name(name, layer) for name in names for layer in chosen}
    base, unlearned = pair.roles("base", "unlearned")
    text, ids = start[None].to(base.embed.W_E.device), list[int]()
    while len(ids) < max_new_tokens and text.shape[1] < base.cfg.n_ctx:
        _, cache = base.run_with_cache(text, names_filter=lambda name: name in hooks)
        swaps = [(name, lambda value, hook, held=cache: held[hook.name].to(value.device)) for name in sorted(hooks)]
        following = int(unlearned.run_with_hooks(text, fwd_hooks=swaps)[0, -1].argmax())
        if following in ends:
            break
        ids.append(following)
        text = torch.cat([text, text.new_tensor([[following]])], dim=1)
    return ids
