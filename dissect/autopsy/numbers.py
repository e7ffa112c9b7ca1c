"""The few numbers that the verdict rests on, side by side under it."""

from math import nan

from dissect.autopsy.page import Number, Numbers
from dissect.autopsy.shares import Evidence, Share, most_said


def numbers(found: Evidence) -> list[Numbers]:
    """Those that were measured; nothing where none was."""
    wording, said = most_said(found) or ("", None)
    depth = found.depth_alike or found.depth
    tiles = [
        _tile(f"of what was to be forgotten is still answered, {wording}", said),
        _tile("of what was to be kept is still answered", found.kept),
        _tile("is erased from its states about forgotten facts", depth, "about kept facts", found.depth_kept),
        _tile(
            "of the lost answer probability comes back by relearning other facts",
            found.returned,
            "in a model that never knew",
            found.returned_control,
        ),
        _tile(
            "comes back with the base model's value vectors",
            found.values,
            "with early coefficients",
            found.coefficients,
        ),
    ]
    shown = [tile for tile in tiles if tile is not None]
    return [Numbers(shown)] if shown else []


def _tile(label: str, share: Share | None, beside: str = "", other: Share | None = None) -> Number | None:
    if share is None:
        return None
    return Number(label, share.value, share.low, share.high, beside, nan if other is None else other.value)
