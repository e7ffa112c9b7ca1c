"""What a run has done so far: how many answers the model still gives, and how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.reading.token_scores import token_scores
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.training_data import TrainingData

MOST_RETAINED = 100
"""Retained facts that are asked at most, where there are fewer forget facts."""
MOVED = 0.05
"""Nats a token by which the forget loss has to change before a run counts as having moved anything."""
TAKEN = 0.5
"""Share of the retained answers, of those given before training, below which a run is said to have taken them."""


@dataclass(frozen=True)
class SetCheck:
    """One set of facts."""

    given: int
    """Facts whose answer is the model's greedy continuation, word for word."""
    of: int
    loss: float
    """-log p of an answer's token, in nats: mean over the tokens of a fact, then over facts."""

    @property
    def share(self) -> float:
        """Share of the facts whose answers are given, from 0 to 1."""
        return self.given / self.of


@dataclass(frozen=True)
class Check:
    """Forget facts and, where there are any, retained or monitored ones, after ``step`` steps."""

    step: int
    forget: SetCheck
    retain: SetCheck | None

    def to_dict(self) -> dict[str, Any]:
        """A plain mapping for the log; `of` takes it back."""
        return asdict(self)

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Check":
        """Read a check from an event of the log."""
        retain = event["retain"]
        return cls(event["step"], SetCheck(**event["forget"]), None if retain is None else SetCheck(**retain))

    def kept(self, before: "Check") -> float:
        """Share of the retained answers that are given still, of those given before; 1 where there are none."""
        return _of_before(self.retain, before.retain)

    def said(self, before: "Check") -> float:
        """Share of the forget answers that are given still, of those given before."""
        return _of_before(self.forget, before.forget)

    def since(self, before: "Check") -> str:
        """What has become of the answers, for the last line of a command."""
        sides = {"forget": (before.forget, self.forget), "retain": (before.retain, self.retain)}
        return ", ".join(
            f"{name} answers given {was.given} to {now.given} of {now.of}"
            for name, (was, now) in sides.items()
            if was is not None and now is not None
        )

    def __str__(self) -> str:
        """Counts, as on the progress bar."""
        sides = {"forget": self.forget, "retain": self.retain}
        return ", ".join(f"{name} {side.given}/{side.of}" for name, side in sides.items() if side is not None)


def asked(model: HookedTransformer, data: TrainingData, config: TrainConfig, step: int) -> Check:
    """Ask the model the forget facts and the retained ones.

    One forward pass a fact decides, nothing is generated. Of retained facts no more are asked than there are forget
    facts, or `MOST_RETAINED` where these are fewer: evenly spaced ones, the same at every check.
    """
    forget, retain = data.asked or (data.forget, data.retain)
    if retain is not None and len(retain) > (most := max(len(forget), MOST_RETAINED)):
        retain = retain[np.linspace(0, len(retain) - 1, most).astype(int).tolist()]
    return Check(
        step,
        _check_set(model, forget, config.batch_size),
        None if retain is None else _check_set(model, retain, config.batch_size),
    )


def warnings(checks: Sequence[Check]) -> list[str]:
    """Say where a run, by its first and last check, moved nothing, or took retained facts with it."""
    if not checks:
        return []
    before, after, found = checks[0], checks[-1], []
    moved = abs(after.forget.loss - before.forget.loss)
    if moved < MOVED and after.forget.given >= before.forget.given:
        found.append(
            f"the run moved nothing: {after.forget.given} of {after.forget.of} forget answers are given as before, and "
            f"their loss has changed by {moved:.2g} nats a token: raise lr or the epochs"
        )
    if after.retain is not None and before.retain is not None and after.kept(before) < TAKEN:
        found.append(
            f"the run took retained facts with it: {after.retain.given} of {after.retain.of} answers are given, "
            f"{before.retain.given} were before: lower lr, or set stop_retain=0.9 with keep='best'"
        )
    return found


def _check_set(model: HookedTransformer, prompts: Prompts, batch_size: int) -> SetCheck:
    scores = token_scores(model, prompts, batch_size=batch_size)
    given = sum(bool((ranks == 1).all()) for ranks in scores.split(scores.rank))
    return SetCheck(given, len(prompts), -float(np.mean(scores.per_row(scores.logprob))))


def _of_before(now: SetCheck | None, before: SetCheck | None) -> float:
    if now is None or before is None or before.given == 0:
        return 1.0
    return now.given / before.given
