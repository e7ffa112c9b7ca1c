"""A few numbers side by side below the verdict: what is said and kept, and what depth and restoration find."""

from math import nan

from dissect.autopsy.page import Number, Numbers
from dissect.autopsy.shares import Evidence, Share, most_said


def numbers(evidence: Evidence) -> list[Numbers]:
    """Return the numbers that were measured, as tiles; nothing where none was."""
    wording, said = most_said(evidence) or ("", None)
    depth = evidence.depth_alike or evidence.depth
    tiles = [
        _tile(f"of the forget facts still answered, {wording}", said),
        _tile("of the retain facts still answered", evidence.retain),
        _tile(
            "erasure depth of the forget facts; changed states may still hold them",
            depth,
            "of the retain facts",
            evidence.depth_retain,
        ),
        _tile(
            "of the lost answer probability regained by relearning other facts",
            evidence.returned,
            "in a model that never knew",
            evidence.returned_control,
        ),
        _tile(
            "recovered with the base model's value vectors",
            evidence.values,
            "with early coefficients",
            evidence.coefficients,
        ),
    ]
    shown = [tile for tile in tiles if tile is not None]
    return [Numbers(shown)] if shown else []


def _tile(label: str, share: Share | None, beside: str = "", other: Share | None = None) -> Number | None:
    if share is None:
        return None
    return Number(label, share.value, share.low, share.high, beside, nan if other is None else other.value)
