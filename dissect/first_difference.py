"""The first setting in which what is stored differs from what is asked for, in words."""

from collections.abc import Callable, Mapping
from typing import Any


def first_difference(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, ignored: Callable[[str], bool] = lambda key: False
) -> str:
    """Return for instance ``config.lr 0.01 there, 0.001 here``; an empty text where nothing differs.

    Args:
        ignored: whether a key does not matter.
    """
    for key in (key for key in {**stored, **wanted} if not ignored(str(key))):
        there, here = stored.get(key), wanted.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            if inner := first_difference(there, here, ignored=ignored):
                return f"{key}.{inner}"
        elif there != here:
            return f"{key} {there!r:.60} there, {here!r:.60} here"
    return ""
