"""Settings of a report: what it computes, and how much of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dissect.attacks.attack import chosen_attacks
from dissect.data.chat.chat_settings import chat_as_data
from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.errors import DissectError
from dissect.evaluation.evaluate import chosen_measures
from dissect.measures.measure import check_options

QUICK: Mapping[str, Any] = {
    "steps": ("verdict", "evaluation", "activations", "parameters", "facts", "drift"),
    "attacks": ("quick",),
    "measures": ("contains", "exact_match", "answer_probability", "perplexity", "erasure_depth"),
    "max_facts": 20,
    "max_picked": 100,
}
"""Settings of a first look: no attack that trains, no search, no maps. Such a panel never says "erased"."""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Everything that decides the numbers of a report besides models and facts.

    Raises:
        DissectError: a value outside of its range.
    """

    __no_type_check__ = True  # a value of another type is a user's mistake like any other: checked below, by name

    template: str = DEFAULT_TEMPLATE
    chat: Mapping[str, Any] | None = None
    """Ask in the base model's own chat template: True, or its settings; see ``chat`` of ``Facts.prompts``."""
    answers: str = "gold"
    """Answers that sweeps score: those of the facts, or ``base``, the base model's own greedy ones, as in the paper.
    Facts without answers are always asked for the base model's own."""
    max_new_tokens: int = 30
    window: int | None = None
    """Number of layers swapped together; by default 5 in models of 12 layers or more, 3 from 4 layers on, else 1."""
    max_facts: int = 100
    """Most forget facts in the sweeps, spread evenly. Behaviour is measured on all."""
    search_facts: int = 40
    """Most facts in the search for the smallest restoring set, which runs some hundred sets on each."""
    max_picked: int = 400
    """Most facts of each of the forget and retain sets that can be picked on the page, spread evenly."""
    n_shown: int = 3
    """Number of facts whose maps over positions and layers, and logit lens, are drawn."""
    exact_heads: int = 256
    """Most heads that are swapped one by one; where there are more, they are estimated to first order."""
    steps: tuple[str, ...] | None = None
    """Parts to compute, by the names in ``dissect.autopsy.steps.STEPS``; by default all."""
    measures: tuple[str, ...] | None = None
    """Measures of the evaluation; by default all but those that train something."""
    options: Mapping[str, Any] | None = None
    """Options of single measures, e.g. ``{"relearning.lr": 1e-5}``."""
    attacks: tuple[str, ...] | None = None
    """Attacks of the verdict's panel, by name, family, ``quick`` or ``all``; by default all."""
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        check_template(self.template)
        object.__setattr__(self, "chat", chat_as_data(self.chat))
        if self.answers not in ("base", "gold"):
            raise DissectError(f"answers must be base or gold, got {self.answers!r}")
        for name in ("max_new_tokens", "max_facts", "search_facts", "max_picked", "n_shown", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DissectError(f"{name} must be a whole number of at least 1, got {value!r}")
        width = self.window
        if width is not None and (not isinstance(width, int) or width < 1 or width % 2 == 0):
            raise DissectError(f"window must be an odd number of layers, e.g. 3 or 5, got window={width!r}")
        if self.measures is not None:
            chosen_measures(self.measures)
        check_options(self.options or {})
        chosen_attacks(self.attacks)
        if isinstance(self.steps, str):
            object.__setattr__(self, "steps", (self.steps,))

    def window_of(self, n_layers: int) -> int:
        """Return the number of layers swapped together in a model of ``n_layers``."""
        return self.window if self.window is not None else 5 if n_layers >= 12 else 3 if n_layers >= 4 else 1

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return asdict(self) | {"chat": None if self.chat is False else self.chat}
