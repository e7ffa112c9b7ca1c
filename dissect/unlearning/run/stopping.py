"""When a run ends before its last step."""

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.reading.perplexity import perplexity
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.run.checkup import Check


class Stopping:
    """Thresholds of the loss, of the perplexity on monitored texts, and of the answers that are still given.

    Made before training, when it measures the perplexity that later ones are compared with.

    Raises:
        DissectError: a perplexity ratio without texts to measure it on.
    """

    def __init__(self, model: HookedTransformer, monitor: Prompts | None, config: TrainConfig) -> None:
        self._model, self._monitor, self._config = model, monitor, config
        self._before = 0.0
        if config.stop_perplexity_ratio is not None:
            if monitor is None:
                raise DissectError(
                    "stop_perplexity_ratio needs texts to measure perplexity on: give the trainer's data a monitor"
                )
            self._before = perplexity(model, monitor, batch_size=config.batch_size)

    def reason(self, loss: float, *, due: bool, before: Check | None, now: Check | None) -> str | None:
        """Say why the run ends here, if it does.

        Args:
            loss: of the step that was taken.
            due: whether the perplexity is to be measured.
            before, now: the check before training and that of this step, where there was one.
        """
        threshold = self._config.stop_loss
        if threshold is not None and loss <= threshold:
            return f"loss {loss:.4g} at or below {threshold:g}"
        if before is not None and now is not None and (reason := self._of_answers(before, now)):
            return reason
        ratio = self._config.stop_perplexity_ratio
        if ratio is None or self._monitor is None or not due:
            return None
        perplexed = perplexity(self._model, self._monitor, batch_size=self._config.batch_size)
        if not perplexed <= ratio * self._before:  # NaN stops as well
            return f"perplexity {perplexed:.4g} above {ratio:g} times {self._before:.4g}"
        return None

    def _of_answers(self, before: Check, now: Check) -> str | None:
        config = self._config
        if config.stop_forget is not None and now.forget.share <= config.stop_forget:
            return f"{now.forget.given} of {now.forget.of} forget answers given, at or below {config.stop_forget:g}"
        if config.stop_retain is not None and now.kept(before) < config.stop_retain:
            assert now.retain is not None and before.retain is not None
            return (
                f"{now.retain.given} of {now.retain.of} retained answers given, below {config.stop_retain:g} of the "
                f"{before.retain.given} before training"
            )
        return None
