"""The loss of a micro-batch, as configured.

The loss of a step is a mean over tokens (GA, UnDIAL, KL, ...) or over answers (NPO, SimNPO, DPO) of the whole step. A
micro-batch contributes its sum over the step's count, so that accumulating gives what one large batch gives, whatever
the lengths of the answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.backward import Combine, RowValues
from dissect.unlearning.gradient.prompt_rows import PromptRows
from dissect.unlearning.gradient.reference import Distributions, LiveReference, cut, tensors
from dissect.unlearning.loss_inputs import AnswerInputs, TokenInputs
from dissect.unlearning.losses.flat_rows import nll_rows
from dissect.unlearning.losses.kl_to_reference import kl_rows
from dissect.unlearning.losses.top_k import TopK, kl_top_k_rows
from dissect.unlearning.method_record import Method
from dissect.unlearning.methods import METHODS


@dataclass(frozen=True)
class LossPart:
    """The loss of one side of a micro-batch, forget or retain, as `backward` takes it."""

    values: RowValues
    combine: Combine
    linear: bool
    """True if the loss is a sum over rows; see `dissect.unlearning.gradient.backward.backward`."""


def whole_texts(config: TrainConfig) -> bool:
    """Return True if the forget objective scores every token of a text, as some published forms do."""
    variants = METHODS[config.method].variants
    return bool(variants) and variants[config.variant].whole_texts


def loss_settings(config: TrainConfig) -> dict[str, Any]:
    """Settings that the loss of the configured method takes, by name."""
    names = METHODS[config.method].loss_settings
    return {name: config.strength if name == "beta" else getattr(config, name) for name in names}


def row_weights(rows: PromptRows, method: Method) -> Float[Tensor, " row"]:
    """Weight of each forget row in the mean over tokens: its focus weight, or 0 where the method skips the token."""
    if method.skips == 0:
        return rows.weights
    # number of each row within its text: rows stand text by text
    first = torch.searchsorted(rows.sequence, torch.arange(len(rows.tokens), device=rows.sequence.device))  # (batch)
    number = torch.arange(len(rows.sequence), device=rows.sequence.device) - first[rows.sequence]  # (row)
    return rows.weights * (number >= method.skips)


def count(answer_lengths: Sequence[int], lengths: Sequence[int], config: TrainConfig) -> int:
    """Number that the forget loss of a step is divided by: its answers, or its scored tokens."""
    method = METHODS[config.method]
    if method.sees == "answers":
        return len(answer_lengths)
    if whole_texts(config):
        return sum(length - 1 for length in lengths)
    return sum(max(0, length - method.skips) for length in answer_lengths)


def forget_part(
    rows: PromptRows,
    config: TrainConfig,
    total: int | float,
    *,
    distributions: Distributions | LiveReference | None = None,
    reference_nll: Float[Tensor, " answer"] | None = None,
) -> LossPart:
    """Loss of the forget side of a micro-batch.

    Args:
        rows: scored rows of the forget facts; where the method needs alternate answers, of as many texts with these
            after them.
        total: `count` of the whole step.
        distributions: reference distributions of the rows, where the method needs them.
        reference_nll: NLL of each text of ``rows`` under the reference, where the method needs it.
    """
    method, settings, weight = METHODS[config.method], loss_settings(config), config.forget_weight / total
    if method.sees == "answers":

        def combine(nll: Float[Tensor, " row"]) -> Float[Tensor, ""]:
            return method.loss(_answers(nll, rows, reference_nll), **settings).sum() * weight

        return LossPart(lambda logits, part: nll_rows(logits, rows.targets[part]).double(), combine, linear=False)
    # in float64: the values are few, and a sum of thousands of them is not to be rounded
    weights = row_weights(rows, method).double() * weight  # (row)

    def values(logits: Float[Tensor, "part d_vocab"], part: slice) -> Float[Tensor, " part"]:
        reference = None if distributions is None else _reference_rows(distributions, part, logits)
        tokens = TokenInputs(logits, rows.targets[part], rows.answer[part], reference)
        return weights[part] * method.loss(tokens, **settings)

    return LossPart(values, torch.sum, linear=True)


def retain_part(
    rows: PromptRows,
    config: TrainConfig,
    total: int | float,
    retain_weight: float,
    *,
    distributions: Distributions | LiveReference | None = None,
) -> LossPart:
    """Loss of the retain side: NLL of the answers, or KL(reference || model) where they are predicted."""
    weight = retain_weight / total
    if config.retain_loss != "kl":
        return LossPart(
            lambda logits, part: weight * nll_rows(logits, rows.targets[part]).double(), torch.sum, linear=True
        )
    assert distributions is not None

    def kl(logits: Float[Tensor, "part d_vocab"], part: slice) -> Float[Tensor, " part"]:
        reference = _reference_rows(distributions, part, logits)
        if isinstance(reference, TopK):
            return weight * kl_top_k_rows(logits, reference).double()
        return weight * kl_rows(logits, reference).double()

    return LossPart(kl, torch.sum, linear=True)


def _reference_rows(
    distributions: Distributions | LiveReference, part: slice, logits: Float[Tensor, "part d_vocab"]
) -> Distributions:
    """Reference distributions of some rows, on the device of ``logits`` and in their precision."""
    selected = distributions[part] if isinstance(distributions, LiveReference) else cut(distributions, part)
    if isinstance(selected, TopK):
        return TopK(*(column.to(logits.device) for column in tensors(selected)))
    return selected.to(logits)


def _answers(nll: Float[Tensor, " row"], rows: PromptRows, reference_nll: Tensor | None) -> AnswerInputs:
    """Sum what each row contributes to the NLL of its text."""
    sums = torch.zeros(len(rows.tokens), dtype=nll.dtype, device=nll.device).index_add(0, rows.sequence, nll)
    lengths = torch.bincount(rows.sequence, minlength=len(rows.tokens))
    reference = None if reference_nll is None else reference_nll.to(device=nll.device, dtype=nll.dtype)
    return AnswerInputs(sums, lengths, reference)
