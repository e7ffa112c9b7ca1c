"""Modules that are imported when they are first used, for files that have to stay quick to import."""

from importlib import import_module
from typing import Any


class LazyModule:
    """A stand-in for a module, which is imported at the first look at one of its attributes.

    Under ``if TYPE_CHECKING`` the module itself is imported, so that type checkers see the real thing.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
