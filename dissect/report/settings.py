"""What an autopsy computes, and how much of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.errors import DissectError
from dissect.evaluation.evaluate import chosen_measures
from dissect.evaluation.options import check_options

STEPS = ("evaluation", "activations", "parameters", "smallest", "positions", "heads", "lens", "drift")
"""Its parts, in the order in which they are computed; each is kept in a file of its own."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Everything that decides the numbers of a report, apart from models and facts.

    Raises:
        DissectError: a value outside of its range.
    """

    __no_type_check__ = True  # a value of another type is a user's mistake like any other: checked below, by name

    template: str = DEFAULT_TEMPLATE
    answers: str = "base"
    """Whose answers sweeps score: the base model's own greedy ones, as in the paper, or ``gold``."""
    max_new_tokens: int = 30
    window: int | None = None
    """Layers swapped together; by default 5 from 12 layers on, 3 from 4 on, else 1."""
    max_facts: int = 100
    """At most so many forget facts, spread evenly, enter the sweeps. Behaviour is asked of all."""
    search_facts: int = 40
    """At most so many of them enter the search for the smallest restoring set, which runs some hundred sets on each."""
    n_shown: int = 3
    """Facts whose maps over positions and layers, and logit lens, are drawn."""
    exact_heads: int = 256
    """Heads are swapped one by one up to so many; where there are more, they are estimated to first order."""
    steps: tuple[str, ...] = STEPS
    measures: tuple[str, ...] | None = None
    """Of the evaluation; by default all but those that the pair has no models or facts for."""
    options: Mapping[str, Any] | None = None
    """What single measures are told, such as ``{"relearning.lr": 1e-5}``."""
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        check_template(self.template)
        if self.answers not in ("base", "gold"):
            raise DissectError(f"answers must be base or gold, got {self.answers!r}")
        for name in ("max_new_tokens", "max_facts", "search_facts", "n_shown", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DissectError(f"{name} must be a whole number from 1 on, got {value!r}")
        width = self.window
        if width is not None and (not isinstance(width, int) or width < 1 or width % 2 == 0):
            raise DissectError(f"window={width!r}: an odd number of layers from 1 on, such as 3 or 5")
        if self.measures is not None:
            chosen_measures(self.measures)
        check_options(self.options or {})
        steps = (self.steps,) if isinstance(self.steps, str) else tuple(self.steps)
        if unknown := [step for step in steps if step not in STEPS]:
            raise DissectError(f"no step {unknown[0]!r} in a report: choose from {', '.join(STEPS)}")
        object.__setattr__(self, "steps", steps)

    def window_of(self, n_layers: int) -> int:
        """Layers swapped together in a model of so many."""
        return self.window if self.window is not None else 5 if n_layers >= 12 else 3 if n_layers >= 4 else 1

    def to_dict(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)
