"""One step's forward and backward passes: micro-batches, their references and their masters."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.distributed import summed
from dissect.errors import DissectError
from dissect.models.changing.copying import copied
from dissect.models.sharding.sharded import share_of, whole_head
from dissect.undoing.change import undone
from dissect.unlearning.audit import Audit
from dissect.unlearning.config.choices import COMPARING
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.backward import backward, residual_rows
from dissect.unlearning.gradient.objective import Part, count, forget_part, retain_part, whole_texts
from dissect.unlearning.gradient.prompt_rows import Rows, rows_of
from dissect.unlearning.parameters.masters import Master
from dissect.unlearning.run.order import Micro, Step
from dissect.unlearning.run.reference import Live, Stored, take

Augment = Callable[[Prompts, random.Random], Prompts]
"""The forget prompts of a micro-batch as they are to be seen this time: as many, in their order."""


@dataclass
class Data:
    """What a run is trained on."""

    forget: Prompts
    retain: Prompts | None = None
    alternate: Prompts | None = None
    """DPO: the same questions with the answers that are preferred."""
    weights: Float[Tensor, "prompt pos"] | None = None
    """Of every token of ``forget``: the focus."""
    monitor: Prompts | None = None
    """Texts whose perplexity may end the run."""
    augment: Augment | None = None


class Micros:
    """Computes the gradient of a step, micro-batch by micro-batch.

    Made before training: it takes from the model, or from a teacher, what the objective compares with.
    """

    def __init__(
        self,
        model: HookedTransformer,
        data: Data,
        config: TrainConfig,
        teacher: HookedTransformer | None,
        masters: Sequence[Master],
        steps: Sequence[Step],
        *,
        progress: bool,
    ) -> None:
        self._model, self._data, self._config, self._masters = model, data, config, masters
        self._kind = COMPARING.get(config.method)
        self._share = share_of(model)
        self._live: HookedTransformer | None = None
        self._forget, self._retain, self._alternate = Stored(), Stored(), Stored()
        self._audit: Audit | None = None
        compares = self._kind is not None or config.retain_loss == "kl"
        if not compares:
            return
        if config.reference == "live":
            adapters = teacher is None and config.lora_rank  # switched off, they are the reference
            self._live = model if adapters else teacher if teacher is not None else copied(model)
            return
        self._take(model if teacher is None else teacher, steps, progress)

    def backward(self, step: Step, number: int) -> tuple[dict[str, float], int]:
        """Leave the gradient of the step in the leaves; the parts of its loss, and how many tokens were read."""
        forget = [self._augmented(micro, number, at) for at, micro in enumerate(step.micros)]
        total = sum(count(*_lengths(prompts, indices), self._config) for prompts, indices in forget)
        if total == 0:
            raise DissectError(f"step {number + 1} scores nothing: every answer is shorter than the method needs")
        retained = [index for micro in step.micros for index in micro.retain]
        n_retained = 0 if self._data.retain is None else sum(_lengths(self._data.retain, retained)[0])
        self._forget_gradients()
        parts, n_tokens = {"forget": torch.zeros(())}, 0
        for micro, (prompts, indices) in zip(step.micros, forget, strict=True):
            loss, n = self._forget_side(prompts, *self._mine(indices, total))
            parts["forget"], n_tokens = parts["forget"] + loss.cpu(), n_tokens + n
            self._pull()
            if self._data.retain is not None:
                loss, n = self._retain_side(*self._mine(micro.retain, n_retained))
                parts["retain"], n_tokens = parts.get("retain", 0.0) + loss.cpu(), n_tokens + n
                self._pull()
        # of a sharded model every rank computed a part of these sums; FSDP2 added up the gradients
        *losses, read = summed([*map(float, parts.values()), float(n_tokens)], over=self._share.size)
        return dict(zip(parts, losses, strict=True)), int(read)

    def _mine(self, indices: list[int], total: int | float) -> tuple[list[int], int | float]:
        """This rank's texts of a micro-batch, and what their sum is divided by.

        Ranks run together: one for which no text is left runs the first of them, divided by infinity.
        """
        mine = indices[self._share.rank :: self._share.size]
        return (mine, total) if mine else (indices[:1], math.inf)

    def _forget_gradients(self) -> None:
        """Whatever else made gradients, a callback or the user before the run, they are none of this step."""
        for parameter in self._model.parameters():
            parameter.grad = None
        for master in self._masters:
            for leaf in master.leaves.values():
                leaf.grad = None

    def _pull(self) -> None:
        for master in self._masters:
            master.pull()

    def report(self) -> list[dict[str, Any]]:
        """What was stored of the reference, for the log."""
        named = {"forget": self._forget, "retain": self._retain}
        stored = sum(kept.n_bytes for kept in named.values())
        if not stored:
            return []
        event: dict[str, Any] = {
            "event": "reference",
            "step": 0,
            "bytes": stored,
            "top_k": self._config.reference_top_k,
        }
        for side, kept in named.items():
            event |= {f"{side}_{key}": value for key, value in kept.tail_mass().items()}
        return [event]

    def report_end(self) -> list[dict[str, Any]]:
        """How exact the stored reference was at the end, for the log."""
        return [] if self._audit is None else [{"event": "reference_audit", **self._audit.at_end(self._model)}]

    def _forget_side(self, prompts: Prompts, indices: list[int], total: int | float) -> tuple[Tensor, int]:
        config, device = self._config, self._model.embed.W_E.device
        weights = self._data.weights if prompts is self._data.forget else None
        rows = rows_of(prompts, indices, everywhere=whole_texts(config), weights=weights).to(device)
        sides = [(rows, prompts, indices, self._forget)]
        if self._data.alternate is not None:
            other = rows_of(self._data.alternate, indices).to(device)
            sides.append((other, self._data.alternate, indices, self._alternate))
        joined = rows if len(sides) == 1 else _beside(rows, sides[1][0])
        distributions, nll = None, None
        if self._kind == "nll":
            nll = torch.cat([self._reference_nll(*side[1:]) for side in sides])
        elif self._kind == "rows":
            distributions = self._distributions(rows, indices, self._forget)
        part = forget_part(joined, config, total, distributions=distributions, reference_nll=nll)
        return self._backward([side for side, *_ in sides], part)

    def _retain_side(self, indices: list[int], total: int | float) -> tuple[Tensor, int]:
        assert self._data.retain is not None
        rows = rows_of(self._data.retain, indices).to(self._model.embed.W_E.device)
        kl = self._config.retain_loss == "kl"
        distributions = self._distributions(rows, indices, self._retain) if kl else None
        part = retain_part(rows, self._config, total, distributions=distributions)
        return self._backward([rows], part)

    def _backward(self, sides: Sequence[Rows], part: Part) -> tuple[Tensor, int]:
        """The gradient of one side of a micro-batch; its loss, and how many tokens were read."""
        checkpointing, model = self._config.gradient_checkpointing, self._model

        def forward() -> Float[Tensor, "row d_model"]:
            found = [residual_rows(model, rows, checkpointing=checkpointing) for rows in sides]
            return found[0] if len(found) == 1 else torch.cat(found)

        # the logits of a reference that is kept are asked for as often as there are slices of this rank's rows
        with nullcontext() if self._live in (None, model) else whole_head(self._live):
            loss = backward(model, forward, part.values, part.combine, linear=part.linear)
        return loss, sum(int(rows.tokens.numel()) for rows in sides)

    def _augmented(self, micro: Micro, number: int, at: int) -> tuple[Prompts, list[int]]:
        if self._data.augment is None:
            return self._data.forget, micro.forget
        chosen = self._data.forget[micro.forget]
        seen = self._data.augment(chosen, random.Random(f"{self._config.seed} {number} {at}"))
        if not isinstance(seen, Prompts) or len(seen) != len(chosen):
            raise DissectError(f"augment must give {len(chosen)} prompts for as many, gave {seen!r:.60}")
        return seen, list(range(len(seen)))

    def _reference_nll(self, prompts: Prompts, indices: list[int], stored: Stored) -> Float[Tensor, "batch"]:
        if self._live is None:
            return stored.sequence_nll(indices)
        with self._reference() as model:
            return take(model, prompts, indices, kind="nll", batch_size=len(indices)).sequence_nll(indices)

    def _distributions(self, rows: Rows, indices: list[int], stored: Stored) -> Any:
        if self._live is None:
            return stored.distributions(indices)
        with self._reference() as model:
            return Live(model, rows)

    @undone
    def _reference(self) -> Iterator[HookedTransformer]:
        """The model before training: another one, or this one with its adapters switched off."""
        assert self._live is not None
        if self._live is not self._model:
            yield self._live
            return
        for master in self._masters:
            master.reset()
        try:
            yield self._model
        finally:
            for master in self._masters:
                master.push()

    def _take(self, teacher: HookedTransformer, steps: Sequence[Step], progress: bool) -> None:
        config, data = self._config, self._data
        how: dict[str, Any] = {"batch_size": config.batch_size, "progress": progress}
        everyone = range(len(data.forget))
        if self._kind is not None:
            top_k = config.reference_top_k if self._kind == "rows" else None
            whole = whole_texts(config)
            self._forget = take(teacher, data.forget, everyone, kind=self._kind, top_k=top_k, everywhere=whole, **how)
            if top_k is not None:
                self._audit = Audit.of(teacher, data.forget, self._forget, config)
        if data.alternate is not None:
            self._alternate = take(teacher, data.alternate, everyone, kind="nll", **how)
        if config.retain_loss == "kl" and data.retain is not None:
            used = {index for step in steps for micro in step.micros for index in micro.retain}
            self._retain = take(teacher, data.retain, used, kind="rows", top_k=config.reference_top_k, **how)


def _lengths(prompts: Prompts, indices: list[int]) -> tuple[list[int], list[int]]:
    return prompts.answer_lengths[indices].tolist(), prompts.lengths[indices].tolist()


def _beside(first: Rows, second: Rows) -> Rows:
    """Rows of two micro-batches after each other; of their tokens only how many texts they are is needed any more."""
    return Rows(
        tokens=first.tokens.new_zeros(len(first.tokens) + len(second.tokens), 0),
        where=first.where.new_zeros(len(first.tokens) + len(second.tokens), 0),
        targets=torch.cat([first.targets, second.targets]),
        answer=torch.cat([first.answer, second.answer]),
        sequence=torch.cat([first.sequence, second.sequence + len(first.tokens)]),
        weights=torch.cat([first.weights, second.weights]),
    )
