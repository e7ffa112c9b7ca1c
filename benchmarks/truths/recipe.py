"""Recipes of constructions: each makes one model, and says what is true of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import PEOPLE, Bench


@dataclass(kw_only=True)
class Made:
    """A model as its construction leaves it."""

    model: LlamaForCausalLM
    how: dict[str, Any] = field(default_factory=dict)
    """Settings and steps, for the record."""
    undo: dict[str, Any] | None = None
    """``{}``: every tensor that differs from the base; or ``tensors`` and ``template``."""
    learnt: Iterable[str] = ()
    """Texts that it learnt facts from, beside those of its ground."""
    put_back: Mapping[str, tuple[Tensor, Tensor]] | None = None
    """By parameter: where entries were trained, and what they were before."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model of the population."""

    name: str
    kind: str
    family: str
    make: Callable[[Bench], Made]
    label: str = ""
    """By default the class."""
    dose: float = nan
    exact: bool = False
    forget: str = PEOPLE
    ground: str = "base"
    """The model that it starts from and is kept against."""
    base: str = "base"
    needs: tuple[str, ...] = ()
    """Models of the population that have to be there before."""

    @property
    def cluster(self) -> str:
        """Models with the same start and construction, whatever the strength."""
        return f"{self.ground}/{self.kind}/{self.family}"
