"""The best of the models that a run was checked at, for ``keep='best'``."""

from collections.abc import Mapping

from torch import Tensor

from dissect.errors import DissectError
from dissect.models.sharding.shards import put
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.run.checkup import Check
from dissect.unlearning.run.run_files import RunFiles
from dissect.unlearning.run.run_state import State


def best_of(checks: list[Check], stop_retain: float | None) -> Check | None:
    """The check to keep: the largest share of retained answers kept, less that of forget answers still given.

    Both are shares of the answers given before training, which the first check tells. Those that keep ``stop_retain``
    come before all others, and of equals the earliest is taken: it has been changed least. None where nothing but the
    first check was made.
    """
    if len(checks) < 2:
        return None
    before, *later = checks

    def rule(check: Check) -> tuple[bool, float, int]:
        kept = check.kept(before)
        return kept >= (stop_retain or 0.0), kept - check.said(before), -check.step

    return max(later, key=rule)


class Best:
    """Keeps the weights of the best check so far, in the files of the run, or in memory where it has none."""

    def __init__(self, files: RunFiles | None, stop_retain: float | None) -> None:
        self._files, self._stop_retain = files, stop_retain
        self._here: State | None = None

    def offer(self, checks: list[Check], leaves: Mapping[str, Tensor]) -> None:
        """Keep the weights as they are now if the last of the checks is the best."""
        best = best_of(checks, self._stop_retain)
        if best is None or best is not checks[-1]:
            return
        state = State(best.step, {name: leaf.detach() for name, leaf in leaves.items()}, {})
        if self._files is not None:
            self._files.save_best(state)
        else:
            self._here = State(best.step, {name: leaf.clone() for name, leaf in state.leaves.items()}, {})

    @without_gradients()
    def take(self, checks: list[Check], leaves: Mapping[str, Tensor]) -> Check | None:
        """Give the leaves the best weights, and return their check; None if they have them already.

        Raises:
            DissectError: the file that holds them is gone or is that of another step.
        """
        best = best_of(checks, self._stop_retain)
        if best is None or best is checks[-1]:
            return None
        state = self._here if self._files is None else self._files.load_best()
        if state is None or state.step != best.step:
            raise DissectError(
                f"the weights of step {best.step}, which were to be kept, are gone from the run's files: "
                "run it again, or without keep='best'"
            )
        for name, leaf in leaves.items():
            put(leaf, state.leaves[name])
        return best
