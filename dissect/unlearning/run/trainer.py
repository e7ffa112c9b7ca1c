"""The training loop."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.distributed import on_main, summed
from dissect.models.checkpoint import CheckpointInfo, checkpoint_or_none, mark_changed
from dissect.models.sharding.sharded import is_sharded, share_of
from dissect.models.sharding.shards import own_part
from dissect.undoing.gradient_mode import with_gradients, without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.clipping import clip_gradients
from dissect.unlearning.gradient.dual import dual_variable
from dissect.unlearning.gradient.micro import StepGradient
from dissect.unlearning.gradient.order import order, share_of_rate, warmup
from dissect.unlearning.gradient.step_references import StepReferences
from dissect.unlearning.gradient.training_data import TrainingData
from dissect.unlearning.parameters.before_and_after import copies, negate, perturb
from dissect.unlearning.parameters.masters import Master, push
from dissect.unlearning.parameters.trainable import masters, only_these
from dissect.unlearning.run.checking import Checking
from dissect.unlearning.run.checkup import Check
from dissect.unlearning.run.find_rate import rate
from dissect.unlearning.run.gauges import peak_memory
from dissect.unlearning.run.run_files import RunFiles
from dissect.unlearning.run.run_state import restore, state_of
from dissect.unlearning.run.step_record import Callback, Diverged, Record
from dissect.unlearning.run.stopping import Stopping

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Trains ``model`` in place to forget.

    Parameters that the checkpoint does not have are never trained: the trained model has the same parameters as the
    checkpoint. The model is in evaluation mode before, during and after training.
    """

    model: HookedTransformer
    data: TrainingData
    config: TrainConfig
    teacher: HookedTransformer | None = None
    """Model that the objective compares with, where it is not the model before training."""
    callbacks: Sequence[Callback] = ()
    files: RunFiles | None = None
    """Files for the states and the log of the run, if they are to be kept."""
    identity: str = ""
    """Text that tells this run from another: it enters the fingerprint of the trained model."""
    records: list[Record] = field(default_factory=list)
    """One record a step."""
    checked: bool = False
    """Make checks also where no setting needs them."""
    checks: list[Check] = field(default_factory=list)
    """What was answered when; the first is that before training."""
    lr: float = math.nan
    """Peak learning rate, once the run has begun; so are the masters of the trained parameters."""
    masters: Sequence[Master] = ()

    def run(self, *, progress: bool = True) -> list[Record]:
        """Train to the end, or continue from the state in ``files``, and return the records of all steps.

        Raises:
            Diverged: the loss or its gradient is no longer finite.
            DissectError: nothing to train, or settings that do not fit the model or the data.
        """
        progress = progress and share_of(self.model).rank == 0

        # Before training: the order of the facts, the leaves that AdamW steps, what the loss is compared with, and what
        # may end the run early. The references are taken here, while the model is still the one before training.
        steps = order(len(self.data.forget), len(self.data.retain or ()), self.config)
        self.masters = masters(self.model, self.config)
        leaves = {name: leaf for master in self.masters for name, leaf in master.leaves.items()}
        stopping = Stopping(self.model, self.data.monitor, self.config)
        references = StepReferences(
            self.model, self.data, self.config, self.teacher, self.masters, steps, progress=progress
        )
        before = copies(self.masters, self.config)
        gradient = StepGradient(self.model, self.data, self.config, self.masters, references)
        self._checking = Checking(self.model, self.data, self.config, self.files, self.checked, self.checks)
        self.model.eval()

        with with_gradients(), only_these(self.model, [master.name for master in self.masters]):
            decay = self.config.weight_decay
            optimizer = torch.optim.AdamW(list(leaves.values()), weight_decay=decay, fused=True)  # lr comes with a step

            # A run that was interrupted continues from its last state; a new one is looked at before its first step.
            checkpoint = checkpoint_or_none(self.model)
            first = self._resume(leaves, optimizer)
            push(self.masters)
            if first == 0:
                for event in references.report():
                    self._write(event)
                self._checking.make(0, leaves)
                perturb(self.masters, self.config)
                push(self.masters)
                self._call({"step": 0})
            if math.isnan(self.lr):
                self.lr = rate(gradient, steps, self.masters, self.config, self.model, self.data, self._write, progress)

            n_rising = warmup(self.config, len(self.data.forget))
            label = f"unlearn ({self.config.method})"
            bar = tqdm(steps[first:], label, len(steps), initial=first, disable=not progress)
            for number, step in enumerate(bar, start=first):
                began = time.perf_counter()

                # The gradient of the whole step, in the leaves, scaled down where its norm is too large.
                lr = self.lr * share_of_rate(self.config, number, len(steps), n_rising)
                gradient.retain_weight = dual_variable(self.config, self.records)
                parts, n_tokens = gradient.backward(step, number)
                for leaf in leaves.values():
                    if leaf.grad is None:  # no text reaches it, as OPT's unused positions: weight decay alone moves it
                        leaf.grad = torch.zeros_like(leaf)
                norm = clip_gradients(leaves.values(), self.config.max_grad_norm)
                loss = sum(parts.values())
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise self._back(number, loss, norm, leaves, optimizer)

                # Only now is it known that the weights from before this step are good: they are worth keeping.
                if self.files is not None and number and number % self.config.checkpoint_every == 0:
                    self.files.save(state_of(number, leaves, optimizer))

                # The update moves the leaves; the masters write them into the model's parameters.
                self._update(optimizer, lr)
                push(self.masters)
                self._mark(checkpoint, number + 1)

                # One line of the log, and the callbacks, which see the model after the step.
                record = {"step": number + 1, "epoch": step.epoch, "loss": loss, **parts, "grad_norm": norm}
                record |= {"lr": lr, "tokens_per_second": n_tokens / (time.perf_counter() - began)}
                if self.config.retain_eps is not None:
                    record |= {"retain_weight": gradient.retain_weight}
                record |= {"memory_mb": peak_memory(self.model.embed.W_E.device)}
                self._record(record)

                # At the end of an epoch, and every `check_every` steps, what is still answered may end the run.
                due = step.last_of_epoch or (number + 1) % self.config.check_every == 0
                now = self._checking.make(number + 1, leaves) if due else None
                bar.set_postfix_str(", ".join([f"loss={loss:.3f}", *map(str, self.checks[-1:])]))
                if self._stops(stopping, record, due, now):
                    break

            self._check_result(leaves, optimizer)
            negate(self.masters, before, self.config)
            push(self.masters)
            self._checking.at_end(len(self.records), leaves)
            if (kept := self._checking.take_best(leaves)) is not None:
                push(self.masters)
                self._mark(checkpoint, kept.step)
            for event in references.report_end():
                self._write(event)
        return self.records

    def _resume(self, leaves: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> int:
        """Return the number of steps that are done, after restoring the state that they ended with."""
        state = None if self.files is None else self.files.load(leaves)
        if self.files is None:
            return 0
        if state is None:
            self.files.begin()
            return 0
        restore(state, leaves, optimizer)
        self._mark(checkpoint_or_none(self.model), state.step)
        events = self.files.events(state.step)
        self.records = [event for event in events if event.get("event") == "step"]
        self.checks[:] = [Check.of(event) for event in events if event.get("event") == "check"]
        self.lr = next((event["lr"] for event in events if event.get("event") == "lr"), math.nan)
        log.info("continuing after step %d", state.step)
        return state.step

    def _mark(self, checkpoint: CheckpointInfo | None, step: int) -> None:
        """Give the model a fingerprint of this run and this step: its weights are no longer those of the checkpoint."""
        if checkpoint is not None:
            self.model.checkpoint = checkpoint
            run = self.identity or f"{self.config} {self.data.forget.fingerprint()}"
            mark_changed(self.model, f"{run} step {step}")

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
                watched = callback(self.model, record)
            if watched:
                self._write({"event": "watch", "step": record["step"], **watched})

    def _write(self, event: dict[str, Any]) -> None:
        if self.files is not None:
            self.files.append(event)

    def _stops(self, stopping: Stopping, record: Record, due: bool, now: Check | None) -> bool:
        reason = stopping.reason(record["loss"], due=due, before=self.checks[0] if self.checks else None, now=now)
        if is_sharded(self.model):
            reason = on_main(lambda: reason)  # ranks must not part over a perplexity that one GPU rounds otherwise
        if reason is not None:
            log.info("stopped after step %d: %s", record["step"], reason)
            record["stopped"] = reason
            self._write({"event": "stop", "step": record["step"], "reason": reason})
        return reason is not None

    def _check_result(self, leaves: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Look at the weights themselves after the last update, which no loss follows."""
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
        """Put the last good state into the model, and return the error that says so."""
        seen = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
        message = f"{seen} after {step} steps: lower lr={self.lr:g} or the epochs"
        state = None if self.files is None else self.files.load(leaves)
        if state is None:
            every = self.config.checkpoint_every
            return Diverged(f"{message}; no state was saved before (checkpoint_every={every}): start over", None)
        restore(state, leaves, optimizer)
        push(self.masters)
        return Diverged(message, state.step)
