"""The training loop: short enough to be read in one sitting."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.unlearning.config import TrainConfig
from dissect.unlearning.examples import answer_logits, examples
from dissect.unlearning.losses.gradient_ascent import gradient_ascent

log = logging.getLogger(__name__)

Record = dict[str, Any]
"""One step: ``step``, ``epoch``, ``loss``, ``grad_norm`` (before clipping), ``lr``."""
Callback = Callable[[HookedTransformer, Record], None]

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ga": gradient_ascent}


@dataclass
class Trainer:
    """Trains ``model`` in place on the answers of ``forget``.

    The parameters that require gradients are trained; the zero biases that TransformerLens adds do not, so the
    checkpoint that comes out has the parameters of the one that came in.
    """

    model: HookedTransformer
    forget: Prompts
    config: TrainConfig
    callback: Callback | None = None
    """Called after every step with the model (in evaluation mode, without gradients) and the step's record."""

    def run(self, *, progress: bool = True) -> list[Record]:
        """Train to the end and return the records of all steps; the model is in evaluation mode before and after.

        Raises:
            DissectError: the weights are not float32, nothing is trainable, or the loss is no longer finite.
        """
        parameters = self._trainable()
        optimizer = torch.optim.AdamW(parameters, lr=self.config.lr, weight_decay=self.config.weight_decay)
        total = self.config.epochs * math.ceil(len(self.forget) / self.config.batch_size)
        records: list[Record] = []
        bar = tqdm(self._batches(), total=total, desc=f"unlearn ({self.config.method})", disable=not progress)
        for step, (epoch, indices) in enumerate(bar):
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr * self.config.factor(step, total)
            loss = self._loss(indices)
            if not bool(torch.isfinite(loss)):
                raise DissectError(f"the loss is {loss.item()} at step {step}: lower lr={self.config.lr} or the epochs")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
            optimizer.step()
            record = {
                "step": step,
                "epoch": epoch,
                "loss": loss.item(),
                "grad_norm": norm.item(),
                "lr": optimizer.param_groups[0]["lr"],
            }
            records.append(record)
            bar.set_postfix(loss=f"{record['loss']:.3f}")
            if self.callback is not None:
                with torch.no_grad():
                    self.callback(self.model, record)
        optimizer.zero_grad(set_to_none=True)
        return records

    def _trainable(self) -> list[torch.nn.Parameter]:
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not parameters:
            raise DissectError("no parameter of the model requires a gradient: there is nothing to train")
        narrow = {str(parameter.dtype).removeprefix("torch.") for parameter in parameters} - {"float32", "float64"}
        if narrow:
            raise DissectError(
                f"the weights are {narrow.pop()}, in which small steps vanish: load(..., dtype='float32')"
            )
        return parameters

    def _batches(self) -> Iterator[tuple[int, list[int]]]:
        generator = torch.Generator().manual_seed(self.config.seed)
        for epoch in range(self.config.epochs):
            order = torch.randperm(len(self.forget), generator=generator).tolist()
            for start in range(0, len(order), self.config.batch_size):
                yield epoch, order[start : start + self.config.batch_size]

    def _loss(self, indices: list[int]) -> Tensor:
        device = self.model.embed.W_E.device
        logits, labels = answer_logits(self.model, examples(self.forget, indices, device))
        return OBJECTIVES[self.config.method](logits, labels)
