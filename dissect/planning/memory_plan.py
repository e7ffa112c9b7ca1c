"""Bytes that a process needs, by what they are for."""

from dataclasses import dataclass

from dissect.models.sizes import Sizes

UNRETURNED = 1 << 26
"""On a CPU: bytes of freed memory that the C library keeps (glibc: twice the largest block that was freed, of at
most 32 MB)."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that one process needs."""

    held: dict[str, int]
    """Bytes that are in use all the time, by what they hold."""
    passing: dict[str, int]
    """Bytes of moments of which only one is at a time."""

    @property
    def peak(self) -> int:
        """Most bytes in use at any time."""
        return sum(self.held.values()) + max(self.passing.values())


def stored_numbers(sizes: Sizes) -> int:
    """Numbers in the parameters of the hooked model, those included that the checkpoint does not have."""
    return sizes.n_parameters + sizes.constants


def largest_gathered(sizes: Sizes) -> int:
    """Numbers in the largest part of a sharded model that is gathered at once: a layer, or the unembedding.

    It is in memory twice: as it was sent, and put together or in the order that a product wants.
    """
    return max(sizes.n_layer, sizes.d_vocab * sizes.d_model)
