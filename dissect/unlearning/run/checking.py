"""The checks of a run: made when they are due, written into its log, and the best weights kept."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.sharding.sharded import is_sharded
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.training_data import TrainingData
from dissect.unlearning.methods import METHODS
from dissect.unlearning.run.best import Best
from dissect.unlearning.run.checkup import Check, asked
from dissect.unlearning.run.run_files import RunFiles

log = logging.getLogger(__name__)


@dataclass
class Checking:
    """Asks the facts as a run goes on.

    Raises:
        DissectError: a sharded model, of which no best weights can be kept.
    """

    model: HookedTransformer
    data: TrainingData
    config: TrainConfig
    files: RunFiles | None
    wanted: bool
    """Whether checks are made where no setting needs them."""
    made: list[Check]
    """All checks; that before training comes first."""

    def __post_init__(self) -> None:
        """Look at what can be kept."""
        if self.config.keep == "best" and is_sharded(self.model):
            raise DissectError("keep='best' keeps the weights of one process, and the model is sharded: leave it out")
        self._best = Best(self.files, self.config.stop_retain)

    def make(self, step: int, leaves: Mapping[str, Tensor]) -> Check | None:
        """Ask the facts after ``step`` steps, if that is wanted; keep the weights if they are the best so far."""
        if not (self.wanted or self.config.needs_checks):
            return None
        check = asked(self.model, self.data, self.config, step)
        self.made.append(check)
        if self.files is not None:
            self.files.append({"event": "check", **check.to_dict()})
        if self.config.keep == "best":
            self._best.offer(self.made, leaves)
        return check

    def at_end(self, n_steps: int, leaves: Mapping[str, Tensor]) -> None:
        """Ask once more where the weights are not those of the last check: the run ended between two, or negates."""
        if self.made and (self.made[-1].step < n_steps or METHODS[self.config.method].negates):
            self.make(n_steps, leaves)

    def take_best(self, leaves: Mapping[str, Tensor]) -> Check | None:
        """Give the leaves the best weights, with ``keep='best'``, and return their check; None if they have them."""
        last = self.made[-1] if self.made else None
        kept = self._best.take(self.made, leaves) if self.config.keep == "best" else None
        if kept is None or last is None:
            return None
        log.info("the model of step %d is kept: %s", kept.step, kept)
        self.made.append(kept)
        if self.files is not None:
            self.files.append({"event": "kept", **kept.to_dict(), "step": last.step, "kept": kept.step})
        return kept
