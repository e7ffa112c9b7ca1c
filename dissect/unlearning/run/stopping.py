"""When a run ends before its last step."""

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.reading.perplexity import perplexity
from dissect.unlearning.config.train_config import TrainConfig


class Stopping:
    """Thresholds of the loss and of the perplexity on monitored texts.

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

    def reason(self, step: int, loss: float, *, end_of_epoch: bool) -> str | None:
        """Say why the run ends after ``step``, if it does."""
        threshold, ratio = self._config.stop_loss, self._config.stop_perplexity_ratio
        if threshold is not None and loss <= threshold:
            return f"loss {loss:.4g} at or below {threshold:g}"
        if ratio is None or self._monitor is None or (step % self._config.check_every and not end_of_epoch):
            return None
        now = perplexity(self._model, self._monitor, batch_size=self._config.batch_size)
        if not now <= ratio * self._before:  # NaN stops as well
            return f"perplexity {now:.4g} above {ratio:g} times {self._before:.4g}"
        return None
