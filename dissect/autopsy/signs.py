"""Signs of how deep the forgetting goes: depth, relearning and restoration, by the rule of docs/verdict.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dissect.autopsy.shares import Evidence, Share, percent

Side = Literal["suppressed", "erased", "unclear"]

DEPTH = 0.5
"""Depth of erasure: 0 where the unlearned model's own states still give the base model the answers, 1 where not."""
READABLE = 0.3
"""Where states about retain facts seem erased to more than this, depth cannot be read: they are foreign to the base."""
RETURNED = 0.25
"""Share of what was lost of untouched facts, beyond the control's, that relearning has to bring back to count. Less,
but more than nothing, decides nothing: what comes back is a lower bound of what is there."""
TAUGHT = 0.5
"""Relearning that brings back less than this share of the very facts it trains on is too weak to find nothing."""
RESTORED = 0.5
"""Recovery from which on a restored part is said to bring the behaviour back."""
WEAK = "restoration"
"""A sign that decides only where no other does."""


@dataclass(frozen=True)
class Sign:
    """One piece of evidence on how deep the forgetting goes."""

    name: str
    side: Side
    words: str


def signs_of(found: Evidence) -> tuple[Sign, ...]:
    """Return the signs that were measured."""
    return (*_depth(found), *_relearning(found), *_restoration(found))


def _depth(found: Evidence) -> list[Sign]:
    """Sign of depth: what the unlearned model's own states still give the base model."""
    depth, retain = found.depth, found.depth_retain
    if depth is None:
        return []
    if retain is not None and not retain.below(READABLE):
        words = (
            f"States about retain facts seem erased as well, {retain}: they are foreign to the base model, so depth "
            "says nothing about the forget facts."
        )
        return [Sign("depth", "unclear", words)]
    if depth.below(DEPTH):
        return [Sign("depth", "suppressed", f"Its own states still give the base model the answers (erased: {depth}).")]
    if depth.above(DEPTH) and retain is None:
        words = (
            f"Its own states do not give the base model the answers (erased: {depth}), but whether the states of the "
            "two models can be exchanged at all was not measured: that takes retain facts."
        )
        return [Sign("depth", "unclear", words)]
    if depth.above(DEPTH):
        return [Sign("depth", "erased", f"Its own states no longer give the base model the answers (erased: {depth}).")]
    return [Sign("depth", "unclear", f"Its own states give the base model part of the answers (erased: {depth}).")]


def _relearning(found: Evidence) -> list[Sign]:
    """Sign of relearning: what training on other facts brings back of untouched ones."""
    back, control, gained = found.returned, found.returned_control, found.gained
    if back is None:
        return []
    beside = f", {control} in a model that never knew them" if control is not None else ", without a control"
    more = f"; {gained} more" if gained is not None and control is not None else ""
    words = (
        f"Relearning other facts brings back {back} of the answer probability that untouched facts had lost{beside}"
        f"{more}."
    )
    if control is not None and gained is None:  # nothing was lost, or it cannot be said how much
        return [Sign("relearning", "unclear", words)]
    counts = gained if gained is not None else back
    if counts.above(0.0) and counts.value >= RETURNED:
        return [Sign("relearning", "suppressed", words)]
    if found.taught is not None and not found.taught.value >= TAUGHT:
        words += f" It was too weak to say more: the facts trained on regained only {found.taught}."
        return [Sign("relearning", "unclear", words)]
    if counts.below(RETURNED) and not counts.above(0.0):
        return [Sign("relearning", "erased", words)]
    return [Sign("relearning", "unclear", words)]


def _restoration(found: Evidence) -> list[Sign]:
    """Value vectors against coefficients, as in Hong et al. (2024), without the layers in which it proves nothing."""
    values, m = found.values, found.coefficients
    if values is None or m is None:
        return []
    if values.above(RESTORED) and _stands_out(values, found.values_controls):
        beside = _beside(found.values_controls)
        words = f"The base model's value vectors bring {values} back{beside}: the values were changed."
        return [Sign(WEAK, "erased", words)]
    words = f"Value vectors bring {values} back{_beside(found.values_controls)}; coefficients before the last third of "
    words += f"the layers {m}{_beside(found.coefficients_controls)}."
    if values.below(RESTORED) and m.above(RESTORED) and _stands_out(m, found.coefficients_controls):
        return [Sign(WEAK, "suppressed", words)]
    return [Sign(WEAK, "unclear", words)]


def _stands_out(share: Share, controls: Mapping[str, Share]) -> bool:
    """Return whether the interval lies above those of all controls."""
    return all(share.low > control.high for control in controls.values())


def _beside(controls: Mapping[str, Share]) -> str:
    """Name the strongest control."""
    words, share = max(controls.items(), key=lambda item: item[1].value, default=("", None))
    return "" if share is None else f" ({words} {percent(share.value)})"
