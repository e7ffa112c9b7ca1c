"""transformers' ``AutoConfig``: imported as ever, or for descriptions and plans on its own, without torch.

A configuration needs nothing of torch, but the import of transformers brings all of it along where it is installed:
several seconds and 300 MB for an answer that is a few divisions. transformers also runs without torch, and its
configurations read the same there.
"""

import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import AutoConfig

_alone: "list[type[AutoConfig]]" = []
"""The class that was imported on its own, within ``configurations_alone``."""


def auto_config() -> "type[AutoConfig]":
    """The class that makes transformers' configurations from a ``model_type``."""
    if _alone:
        return _alone[-1]
    from transformers import AutoConfig

    return AutoConfig


@contextmanager
def configurations_alone() -> Iterator[None]:
    """In the body, ``auto_config`` imports the configurations and nothing else of transformers.

    Where transformers or torch are there already, or the configurations of this version cannot be imported on their
    own, they are imported as ever. Nothing of it stays in ``sys.modules``, so that a later ``import transformers`` is
    the whole library.
    """
    if "transformers" in sys.modules or "torch" in sys.modules or (package := _bare_packages()) is None:
        yield
        return
    handlers = list(logging.getLogger("transformers").handlers)
    sys.modules.update(package)
    sys.modules["torch"] = None  # type: ignore[assignment]  # the import system's way to say: not there
    try:
        from transformers.models.auto.configuration_auto import AutoConfig
    except Exception:  # whatever another version wants of its own package
        _remove(handlers)
        yield
        return
    _alone.append(AutoConfig)
    try:
        yield
    finally:
        _alone.pop()
        _remove(handlers)


def _bare_packages() -> dict[str, ModuleType] | None:
    """The packages above the configurations, without running their own files, which look through all models."""
    found = importlib.util.find_spec("transformers")
    if found is None or not found.submodule_search_locations:
        return None
    from importlib.metadata import version

    packages = {}
    for name, folder in (("transformers", ""), ("transformers.models", "/models")):
        package = ModuleType(name)
        package.__path__ = [f"{where}{folder}" for where in found.submodule_search_locations]
        vars(package)["__version__"] = version("transformers")
        packages[name] = package
    return packages


def _remove(handlers: list[logging.Handler]) -> None:
    """Take everything out again; the library sets up its logger anew when it comes."""
    logging.getLogger("transformers").handlers[:] = handlers
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]
    if sys.modules.get("torch", False) is None:
        del sys.modules["torch"]
