"""Hooks for the time of a block, all of them gone afterwards, whatever interrupts it."""

from collections.abc import Callable, Iterable
from typing import Any

from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint, LensHandle

from dissect.undoing.change import Change

HookFunction = Callable[[Any, HookPoint], Any]
"""From an activation and its hook point to what takes its place, or to None where it stays."""


def hooked(model: HookedTransformer, hooks: Iterable[tuple[str, HookFunction]]) -> Change[HookedTransformer]:
    """``model`` with forward hooks in the body, each a name and a function; they alone are taken away afterwards.

    TransformerLens's own ``model.hooks`` leaves hooks behind where Ctrl-C comes while it adds or removes them: later
    passes then run them. Ctrl-C waits for this one.
    """
    wanted = list(hooks)
    added: list[tuple[HookPoint, LensHandle]] = []

    def add() -> None:
        for name, function in wanted:
            point = model.mod_dict[name]
            model.check_and_add_hook(point, name, function, dir="fwd")
            added.append((point, point.fwd_hooks[-1]))

    def remove() -> None:
        while added:
            point, handle = added.pop()
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]

    return Change(model, add, remove, at_once=True)
