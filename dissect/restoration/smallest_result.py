"""The result of a search for the smallest set of blocks: what it found, and the way there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import pandas as pd

from dissect.stored_result import StoredRecord

BlockAt = str | tuple[int, str]
"""A block outside the layers, or (layer, block)."""


@dataclass(frozen=True)
class SearchStep:
    """One change of the set."""

    action: str
    """``add`` or ``remove``; ``start`` for the empty set."""
    part: BlockAt | None
    """The block that was added or removed."""
    recovery: float
    """Recovery of the set after it, from an exact run."""
    size: int
    """Number of blocks in the set after it."""
    n_weights: int
    """Number of weights in them."""
    n_runs: int
    """Sets that were run exactly so far."""


@dataclass(frozen=True)
class SmallestSet(StoredRecord):
    """Blocks that are enough, none of which can be left out.

    ``dissect.restored(model, donor, blocks=found.members)`` puts them in, ``dissect.transplant`` does it for good.
    """

    FORMAT = "dissect-smallest-1"
    WRITER = "`dissect smallest` or SmallestSet.save"

    members: list[BlockAt]
    """In the order in which they were added."""
    recovery: float
    """Recovery of the whole set."""
    threshold: float
    without: list[float]
    """Recovery of the set without each member: below the threshold, or the member would not be there."""
    path: list[SearchStep]
    random: list[float]
    """Recovery of as many blocks of the same kinds in random layers."""
    n_candidates: int
    n_weights: int
    """Number of weights in all candidates together."""
    spec: dict[str, Any] = field(default_factory=dict)
    """Settings of the search: metric, statistic, direction, checkpoints, seed."""

    @property
    def reached(self) -> bool:
        """True if the threshold is reached; where not, even all candidates together do not."""
        return self.recovery >= self.threshold

    def to_dataframe(self) -> pd.DataFrame:
        """The way: one row a step."""
        return pd.DataFrame([asdict(step) | {"part": label(step.part)} for step in self.path])

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "SmallestSet":
        """Build the set from the content of a file."""
        steps = [SearchStep(**step | {"part": _part(step["part"])}) for step in content["path"]]
        return cls(**{**content, "path": steps, "members": [_part(part) for part in content["members"]]})

    def __repr__(self) -> str:
        rows = [f"  {label(part):<24}{self.recovery - lost:+.3f}" for part, lost in self._losses()]
        share = sum(step.n_weights for step in self.path[-1:]) / self.n_weights
        head = (
            f"SmallestSet: {len(self.members)} of {self.n_candidates} blocks ({share:.1%} of their weights), recovery "
            f"{self.recovery:.3f} {'>=' if self.reached else '<'} {self.threshold:g}; what each adds to the others:"
        )
        return "\n".join([head, *rows])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(label(part))}</td><td>{lost:.3f}</td></tr>" for part, lost in self._losses())
        return (
            f"<p><b>SmallestSet</b>: {len(self.members)} of {self.n_candidates} blocks, recovery {self.recovery:.3f} "
            f"(threshold {self.threshold:g})</p>"
            f"<table><tr><th>block</th><th>recovery without it</th></tr>{rows}</table>"
        )

    def _losses(self) -> list[tuple[BlockAt, float]]:
        return list(zip(self.members, self.without, strict=True))


def label(part: BlockAt | None) -> str:
    """``layer 3 mlp.W_out``, or the block alone where it stands outside the layers."""
    if part is None:
        return ""
    return part if isinstance(part, str) else f"layer {part[0]} {part[1]}"


def _part(stored: Any) -> BlockAt | None:
    return tuple(stored) if isinstance(stored, list) else stored
