"""The first thing in which two mappings differ, in words."""

from collections.abc import Callable, Mapping
from typing import Any


def first_difference(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    *,
    ignored: Callable[[str], object] = lambda key: False,
    within: str = "",
) -> str:
    """Say where two mappings first differ, for example ``config: lr: 0.1 there, 0.2 here``; "" where they are equal.

    Mappings inside are compared key by key; a key that only one of them has counts as None in the other.

    Args:
        there: as it was found, in a file.
        here: as it is wanted now.
        ignored: tells the keys that do not matter, at any depth.
        within: put before the name of the key.
    """
    for key in (key for key in {**there, **here} if not ignored(str(key))):
        old, new = there.get(key), here.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inside := first_difference(old, new, ignored=ignored, within=f"{within}{key}: "):
                return inside
        elif old != new:
            return f"{within}{key}: {old!r:.60} there, {new!r:.60} here"
    return ""
