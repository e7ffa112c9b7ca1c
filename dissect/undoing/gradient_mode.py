"""Gradients on or off for a block or a function, whatever interrupts it.

``torch.no_grad`` and ``torch.enable_grad`` are Python, and set the mode in their ``__enter__`` and ``__exit__``: Ctrl-C
at the end of the one or at the start of the other leaves the mode changed for the rest of the session, in which then
nothing trains. The library uses these instead, everywhere; a test looks for the others.
"""

from collections.abc import Callable
from contextlib import ContextDecorator
from inspect import isgeneratorfunction
from typing import Any, TypeVar

import torch

from dissect.undoing.change import Change

Function = TypeVar("Function", bound=Callable[..., Any])


class GradientMode(Change[None], ContextDecorator):
    """A mode for a body or, as a decorator, for each call of a function; the mode before it afterwards.

    Whatever is left behind by code within, such as another library's own contexts, is put right at its end too.
    """

    def __init__(self, enabled: bool | None) -> None:
        """``enabled=None`` leaves the mode as it is."""
        super().__init__(None, self._set, self._put_back, at_once=True)
        self._enabled = enabled
        self._was = torch.is_grad_enabled()

    def __call__(self, func: Function) -> Function:
        """Decorate a function; a generator would be suspended in the mode."""
        if isgeneratorfunction(func):
            raise TypeError(f"{func.__name__} is a generator: set the mode within it, around what has no yield")
        return super().__call__(func)

    def _recreate_cm(self) -> "GradientMode":
        """Return a new one for each call of a decorated function: calls may be nested."""
        return GradientMode(self._enabled)

    def _set(self) -> None:
        self._was = torch.is_grad_enabled()
        if self._enabled is not None:
            torch.set_grad_enabled(self._enabled)

    def _put_back(self) -> None:
        torch.set_grad_enabled(self._was)


def without_gradients() -> GradientMode:
    """Switch gradients off, as ``torch.no_grad()`` does: ``with without_gradients():`` or ``@without_gradients()``."""
    return GradientMode(False)


def with_gradients() -> GradientMode:
    """Switch gradients on, as ``torch.enable_grad()`` does."""
    return GradientMode(True)


def gradients_as_they_are() -> GradientMode:
    """Leave the mode alone, and see that other libraries' code in the body does: ``torch.nn.init`` switches it."""
    return GradientMode(None)
