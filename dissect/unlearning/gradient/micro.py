"""The gradient of one step, micro-batch by micro-batch."""

import math
import random
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.distributed import summed
from dissect.errors import DissectError
from dissect.models.sharding.sharded import share_of
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.backward import backward, residual_rows
from dissect.unlearning.gradient.objective import LossPart, count, forget_part, retain_part, whole_texts
from dissect.unlearning.gradient.order import MicroBatch, TrainStep
from dissect.unlearning.gradient.prompt_rows import PromptRows, rows_of
from dissect.unlearning.gradient.states import (
    backward_states,
    forget_values,
    goals,
    retain_values,
    state_rows,
    state_total,
)
from dissect.unlearning.gradient.step_references import StepReferences
from dissect.unlearning.gradient.training_data import TrainingData
from dissect.unlearning.methods import METHODS
from dissect.unlearning.parameters.masters import Master


class StepGradient:
    """Computes the gradient of a step, micro-batch by micro-batch."""

    def __init__(
        self,
        model: HookedTransformer,
        data: TrainingData,
        config: TrainConfig,
        masters: Sequence[Master],
        references: StepReferences,
    ) -> None:
        self._model, self._data, self._config = model, data, config
        self._masters, self._references = masters, references
        self.retain_weight = config.retain_weight
        """Weight of the retain loss, which a method with a dual update changes from step to step."""
        self._method, self._share = METHODS[config.method], share_of(model)

    def backward(self, step: TrainStep, number: int) -> tuple[dict[str, float], int]:
        """Leave the gradient of the step in the leaves.

        Returns:
            the loss of each side, and the number of tokens that were read.
        """
        # The prompts of every micro-batch, and the count that the whole step's loss is a mean over. It has to be known
        # before the first backward pass: each micro-batch then adds its sum over that count.
        forget = [self._augmented(micro, number, at) for at, micro in enumerate(step.micros)]
        total = self._total([_lengths(prompts, indices) for prompts, indices in forget])
        if total == 0:
            raise DissectError(f"step {number + 1} scores nothing: every answer is shorter than the method needs")
        retained = [index for micro in step.micros for index in micro.retain]
        n_retained: int | float = 0
        if self._data.retain is not None:
            answers, texts = _lengths(self._data.retain, retained)
            by_state = self._config.retain_loss == "states"
            n_retained = state_total(answers, texts, self._config) if by_state else sum(answers)

        # One backward pass a side of a micro-batch. The parameters' gradient moves into the leaves after each, so that
        # masters in float32 add up what bfloat16 would round.
        self._clear_gradients()
        parts, n_tokens = {"forget": torch.zeros(())}, 0
        for micro, (prompts, indices) in zip(step.micros, forget, strict=True):
            loss, n_read = self._forget_side(prompts, *self._mine(indices, total))
            parts["forget"], n_tokens = parts["forget"] + loss.cpu(), n_tokens + n_read
            self._pull()
            if self._data.retain is not None:
                loss, n_read = self._retain_side(*self._mine(micro.retain, n_retained))
                parts["retain"], n_tokens = parts.get("retain", 0.0) + loss.cpu(), n_tokens + n_read
                self._pull()

        # Every rank of a sharded model computed a part of these sums; the gradients were added up by FSDP2.
        *losses, read = summed([*map(float, parts.values()), float(n_tokens)], over=self._share.size)
        return dict(zip(parts, losses, strict=True)), int(read)

    def _total(self, micros: list[tuple[list[int], list[int]]]) -> int | float:
        """Number that the forget loss of the step is divided by, from the lengths of each micro-batch."""
        if self._method.sees != "states":
            return sum(count(*lengths, self._config) for lengths in micros)
        answers, texts = zip(*micros, strict=True)
        return state_total([*chain(*answers)], [*chain(*texts)], self._config)

    def _mine(self, indices: list[int], total: int | float) -> tuple[list[int], int | float]:
        """Select this rank's texts of a micro-batch, and the number that their sum is divided by.

        Ranks run together: one for which no text is left runs the first of them, divided by infinity.
        """
        mine = indices[self._share.rank :: self._share.size]
        return (mine, total) if mine else (indices[:1], math.inf)

    def _clear_gradients(self) -> None:
        """Drop gradients from before the step, such as those of a callback or of the user."""
        for parameter in self._model.parameters():
            parameter.grad = None
        for master in self._masters:
            for leaf in master.leaves.values():
                leaf.grad = None

    def _pull(self) -> None:
        for master in self._masters:
            master.pull()

    def _augmented(self, micro: MicroBatch, number: int, at: int) -> tuple[Prompts, list[int]]:
        """Return the forget prompts of a micro-batch, and their indices in what is returned."""
        if self._data.augment is None:
            return self._data.forget, micro.forget
        stored = self._data.forget[micro.forget]
        augmented = self._data.augment(stored, random.Random(f"{self._config.seed} {number} {at}"))
        if not isinstance(augmented, Prompts) or len(augmented) != len(stored):
            raise DissectError(f"augment must return as many prompts as it gets, {len(stored)}, got {augmented!r:.60}")
        return augmented, list(range(len(augmented)))

    def _forget_side(self, prompts: Prompts, indices: list[int], total: int | float) -> tuple[Tensor, int]:
        """Backward pass of the forget side, with the alternate answers where the method has them."""
        config, device = self._config, self._model.embed.W_E.device
        if self._method.sees == "states":
            rows = state_rows(prompts, indices, config).to(device)
            before = self._references.states("forget", rows, indices) if config.adaptive else None
            goal = goals(before, len(rows.targets), self._model.cfg.d_model, config)
            values, weight = forget_values(goal.to(device), config), config.forget_weight / total
            return backward_states(self._model, rows, values, weight, config), int(rows.tokens.numel())
        weights = self._data.weights if prompts is self._data.forget else None
        scoring: dict[str, Any] = {"everywhere": whole_texts(config), "own": self._method.own_positions}
        rows = rows_of(prompts, indices, weights=weights, **scoring).to(device)
        texts, nll, distributions = [rows], None, None
        if self._data.alternate is not None:
            texts.append(rows_of(self._data.alternate, indices).to(device))

        # What the reference said of the same texts: one number each, or a distribution a row.
        if self._method.reference == "nll":
            nll = self._references.nll("forget", prompts, indices)  # (batch)
            if self._data.alternate is not None:
                preferred = self._references.nll("alternate", self._data.alternate, indices)  # (batch)
                nll = torch.cat([nll, preferred])  # (2 batch)
        elif self._method.reference == "distributions":
            distributions = self._references.distributions("forget", rows, indices)  # (row, d_vocab), or top k
        joined = rows if len(texts) == 1 else _after(rows, texts[1])
        part = forget_part(joined, config, total, distributions=distributions, reference_nll=nll)
        return self._backward(texts, part)

    def _retain_side(self, indices: list[int], total: int | float) -> tuple[Tensor, int]:
        """Backward pass of the retain side."""
        assert self._data.retain is not None
        if self._config.retain_loss == "states":
            rows = state_rows(self._data.retain, indices, self._config).to(self._model.embed.W_E.device)
            values = retain_values(self._references.states("retain", rows, indices))
            weight = self._config.retain_weight / total
            return backward_states(self._model, rows, values, weight, self._config), int(rows.tokens.numel())
        rows = rows_of(self._data.retain, indices).to(self._model.embed.W_E.device)
        kl = self._config.retain_loss == "kl"
        distributions = self._references.distributions("retain", rows, indices) if kl else None
        part = retain_part(rows, self._config, total, self.retain_weight, distributions=distributions)
        return self._backward([rows], part)

    def _backward(self, texts: Sequence[PromptRows], part: LossPart) -> tuple[Tensor, int]:
        """Backward pass of one side: its loss, and the number of tokens that were read.

        Args:
            texts: the rows of one side; alternate answers, which are texts of their own width, apart.
        """
        checkpointing, model = self._config.gradient_checkpointing, self._model

        def forward() -> Float[Tensor, "row d_model"]:
            residuals = [residual_rows(model, rows, checkpointing=checkpointing) for rows in texts]
            return residuals[0] if len(residuals) == 1 else torch.cat(residuals)

        with self._references.head():
            loss = backward(model, forward, part.values, part.combine, linear=part.linear)
        return loss, sum(int(rows.tokens.numel()) for rows in texts)


def _lengths(prompts: Prompts, indices: list[int]) -> tuple[list[int], list[int]]:
    """Tokens of each answer, and of each whole text."""
    return prompts.answer_lengths[indices].tolist(), prompts.lengths[indices].tolist()


def _after(first: PromptRows, second: PromptRows) -> PromptRows:
    """Put the rows of two micro-batches one after the other; of their tokens only the number of texts is kept."""
    n_texts = len(first.tokens) + len(second.tokens)
    return PromptRows(
        tokens=first.tokens.new_zeros(n_texts, 0),
        where=first.where.new_zeros(n_texts, 0),
        targets=torch.cat([first.targets, second.targets]),  # (row)
        answer=torch.cat([first.answer, second.answer]),  # (row)
        sequence=torch.cat([first.sequence, second.sequence + len(first.tokens)]),  # (row), texts of the second follow
        weights=torch.cat([first.weights, second.weights]),  # (row)
    )
