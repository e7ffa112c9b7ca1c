"""Settings of the demo: what it trains, how it unlearns, and which checkpoint it dissects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "ga": {"method": "ga", "lr": 2e-4, "epochs": 4},
    "npo": {"method": "npo", "lr": 2e-4, "epochs": 12, "retain": True},
    "undial": {"method": "undial", "lr": 5e-4, "epochs": 12},
}
"""Directory to settings; with ``retain`` the retain loss sees half of the other people."""


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo: what it trains, how it unlearns, and which checkpoint it dissects."""

    n_people: int = 200
    n_attributes: int = 4
    n_forget: int = 20
    """So many people are forgotten, with all their attributes."""
    n_layers: int = 6
    d_model: int = 128
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: METHODS)
    repaired: Mapping[str, Any] = field(default_factory=lambda: {"noise": 1.2, "lr": 1e-3, "epochs": 8})
    """A further checkpoint: destroyed by noise, and taught the retain facts again."""
    attacks: tuple[str, ...] | None = None
    """Attacks of the panel; by default all."""
    dissected: str = "undial"
    batch_size: int = 16
    window: int = 3
    """Layers swapped together: half of them. (The paper swaps 5 of 32.)"""
    relearning: Mapping[str, Any] = field(default_factory=lambda: {"relearning.lr": 2e-4, "relearning.steps": 30})
    """Options of the measure of relearning, where it is asked for."""
    seed: int = 0
