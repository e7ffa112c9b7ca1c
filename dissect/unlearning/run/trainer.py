"""The training loop: short enough to be read in one sitting."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.distributed import on_main, summed
from dissect.errors import DissectError
from dissect.models.checkpoint import mark_changed
from dissect.models.sharding.sharded import is_sharded, share_of
from dissect.models.sharding.shards import own_part
from dissect.undoing.gradient_mode import with_gradients, without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.clipping import clip_gradients
from dissect.unlearning.gradient.micro import Data, Micros
from dissect.unlearning.parameters.masters import Master
from dissect.unlearning.parameters.trainable import masters, only_these
from dissect.unlearning.run.gauges import peak_memory
from dissect.unlearning.run.order import Step, order, warmup
from dissect.unlearning.run.run_files import RunFiles
from dissect.unlearning.run.run_state import restore, state_of
from dissect.unlearning.run.stopping import Stopping

log = logging.getLogger(__name__)

Record = dict[str, Any]
"""One step: ``step`` (from 1), ``epoch`` (from 0), ``loss`` and its parts ``forget`` and ``retain`` (weighted, before
the update), ``grad_norm`` (before clipping), ``lr``, ``tokens_per_second``, ``memory_mb`` (the peak so far)."""
Callback = Callable[[HookedTransformer, Record], dict[str, Any] | None]
"""Called before the first step (``{"step": 0}``) and after each step, with the model in evaluation mode and without
gradients. What it returns goes into the log."""


class Diverged(DissectError):
    """The loss or its gradient is not a finite number; the model is that of the last state, if there was one."""

    def __init__(self, message: str, good: int | None) -> None:
        super().__init__(message)
        self.good = good
        """So many steps the model has taken; None where it is lost."""


@dataclass
class Trainer:
    """Trains ``model`` in place to forget.

    Parameters that the checkpoint does not have are never trained, so what comes out has the parameters of what came
    in. The model is in evaluation mode before, during and after.
    """

    model: HookedTransformer
    data: Data
    config: TrainConfig
    teacher: HookedTransformer | None = None
    """What UnDIAL and KL compare with, where it is not the model before training."""
    callbacks: Sequence[Callback] = ()
    files: RunFiles | None = None
    """Where the run keeps its states and its log, if it does."""
    identity: str = ""
    """What tells this run from another: it enters the fingerprint of the trained model."""
    records: list[Record] = field(default_factory=list)
    masters: Sequence[Master] = ()
    """What stands for the trained parameters, once the run has begun."""

    def run(self, *, progress: bool = True) -> list[Record]:
        """Train to the end, or go on with what ``files`` hold, and return the records of all steps.

        Raises:
            Diverged: the loss or its gradient is no longer finite.
            DissectError: nothing to train, or settings that the model or the data do not go with.
        """
        progress = progress and share_of(self.model).rank == 0
        steps = order(len(self.data.forget), len(self.data.retain or ()), self.config)
        self.masters = trained = masters(self.model, self.config)
        leaves = {name: leaf for master in trained for name, leaf in master.leaves.items()}
        stopping = Stopping(self.model, self.data.monitor, self.config)
        micros = Micros(self.model, self.data, self.config, self.teacher, trained, steps, progress=progress)
        self.model.eval()
        with with_gradients(), only_these(self.model, [master.name for master in trained]):
            optimizer = torch.optim.AdamW(
                list(leaves.values()), lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True
            )
            before = getattr(self.model, "checkpoint", None)
            first = self._resume(leaves, optimizer)
            for master in trained:
                master.push()
            if first == 0:
                for event in micros.report():
                    self._write(event)
                self._call({"step": 0})
            rising = warmup(self.config, len(self.data.forget))
            bar = tqdm(
                steps[first:], f"unlearn ({self.config.method})", len(steps), initial=first, disable=not progress
            )
            for number, step in enumerate(bar, start=first):
                began = time.perf_counter()
                lr = self.config.lr * self.config.factor(number, len(steps), rising)
                parts, n_tokens = micros.backward(step, number)
                norm_value = clip_gradients(leaves.values(), self.config.max_grad_norm)
                loss = sum(parts.values())
                if not (math.isfinite(loss) and math.isfinite(norm_value)):
                    raise self._back(number, loss, norm_value, leaves, optimizer)
                if self.files is not None and number and number % self.config.checkpoint_every == 0:
                    self.files.save(state_of(number, leaves, optimizer))  # of weights that are known to be good
                self._update(optimizer, lr)
                for master in trained:
                    master.push()
                self._mark(before, number + 1)
                record = {"step": number + 1, "epoch": step.epoch, "loss": loss, **parts, "grad_norm": norm_value}
                record |= {"lr": lr, "tokens_per_second": n_tokens / (time.perf_counter() - began)}
                record |= {"memory_mb": peak_memory(self.model.embed.W_E.device)}
                self._record(record)
                bar.set_postfix(loss=f"{loss:.3f}")
                if self._stops(stopping, record, step):
                    break
            self._check_result(leaves, optimizer)
            for event in micros.report_end():
                self._write(event)
        return self.records

    def _resume(self, leaves: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> int:
        state = None if self.files is None else self.files.load(leaves)
        if self.files is None:
            return 0
        if state is None:
            self.files.begin()
            return 0
        restore(state, leaves, optimizer)
        self._mark(getattr(self.model, "checkpoint", None), state.step)
        self.records = [event for event in self.files.events(state.step) if event.get("event") == "step"]
        log.info("going on after step %d", state.step)
        return state.step

    def _mark(self, before: Any, step: int) -> None:
        """The weights are those of a checkpoint no longer; the fingerprint tells this run and this step from others."""
        if before is not None:
            self.model.checkpoint = before
            how = self.identity or f"{self.config} {self.data.forget.fingerprint()}"
            mark_changed(self.model, f"{how} step {step}")

    def _update(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _record(self, record: Record) -> None:
        self.records.append(record)
        self._write({"event": "step", **record})
        self._call(record)

    def _call(self, record: Record) -> None:
        for callback in self.callbacks:
            with without_gradients():
                found = callback(self.model, record)
            if found:
                self._write({"event": "watch", "step": record["step"], **found})

    def _write(self, event: dict[str, Any]) -> None:
        if self.files is not None:
            self.files.append(event)

    def _stops(self, stopping: Stopping, record: Record, step: Step) -> bool:
        reason = stopping.reason(record["step"], record["loss"], end_of_epoch=step.last_of_epoch)
        if is_sharded(self.model):
            reason = on_main(lambda: reason)  # a perplexity that another GPU rounds otherwise may not part the ranks
        if reason is not None:
            log.info("stopped after step %d: %s", record["step"], reason)
            record["stopped"] = reason
            self._write({"event": "stop", "step": record["step"], "reason": reason})
        return reason is not None

    def _check_result(self, leaves: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """The last update is followed by no loss that would show what it did."""
        bad = sum(not bool(own_part(leaf).isfinite().all()) for leaf in leaves.values())
        if any(summed([float(bad)], over=share_of(self.model).size)):
            raise self._back(len(self.records), math.nan, math.nan, leaves, optimizer)

    def _back(
        self,
        step: int,
        loss: float,
        norm: float,
        leaves: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> Diverged:
        """Put the last good state into the model, and say what happened."""
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        said = f"{what} after {step} steps: lower lr={self.config.lr:g} or the epochs"
        state = None if self.files is None else self.files.load(leaves)
        if state is None:
            every = self.config.checkpoint_every
            return Diverged(f"{said}; no state was kept before that (checkpoint_every={every}): begin again", None)
        restore(state, leaves, optimizer)
        for master in self.masters:
            master.push()
        return Diverged(said, state.step)
