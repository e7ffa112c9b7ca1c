"""From a configuration to what is computed of a micro-batch.

The loss of a step is a mean over tokens (GA, UnDIAL, KL, ...) or over texts (NPO, SimNPO, DPO) of the whole step. A
micro-batch contributes its sum over the step's count, so that accumulating gives what one large batch gives, whatever
the lengths of the answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.backward import Combine, Values
from dissect.unlearning.gradient.prompt_rows import Rows
from dissect.unlearning.losses.ceu import ceu_rows
from dissect.unlearning.losses.dpo import dpo_sequences
from dissect.unlearning.losses.flat_rows import nll_rows
from dissect.unlearning.losses.kl_to_reference import kl_rows
from dissect.unlearning.losses.npo import npo_sequences
from dissect.unlearning.losses.satimp import satimp_rows
from dissect.unlearning.losses.simnpo import simnpo_sequences
from dissect.unlearning.losses.top_k import TopK, kl_top_k_rows, undial_top_k_rows
from dissect.unlearning.losses.undial import undial_rows
from dissect.unlearning.losses.wga import wga_rows
from dissect.unlearning.run.reference import Distributions, Live, cut, tensors

TOKENWISE: dict[str, Callable[[Tensor, Tensor, TrainConfig], Tensor]] = {
    "ga": lambda logits, targets, config: -nll_rows(logits, targets),
    "grad_diff": lambda logits, targets, config: -nll_rows(logits, targets),
    "wga": lambda logits, targets, config: wga_rows(logits, targets, beta=config.strength),
    "satimp": lambda logits, targets, config: satimp_rows(logits, targets, beta1=config.strength),
    "ceu": lambda logits, targets, config: ceu_rows(logits, targets),
    "learn": lambda logits, targets, config: nll_rows(logits, targets),
}
"""Objectives that are a mean over tokens and need nothing but the logits."""
BY_TEXT = ("npo", "simnpo", "dpo")
"""Those that are a mean over texts."""
CEU_SKIPS = 1
"""CEU leaves so many tokens at the beginning of each answer out."""


@dataclass(frozen=True)
class Part:
    """What one side of a micro-batch adds to the loss."""

    values: Values
    combine: Combine
    linear: bool
    """See ``dissect.unlearning.gradient.backward.backward``."""


def whole_texts(config: TrainConfig) -> bool:
    """Whether the forget objective scores every token of a text, as UnDIAL's published forms do."""
    return config.method == "undial" and config.variant != "masked"


def row_weights(rows: Rows, config: TrainConfig) -> Float[Tensor, "row"]:
    """Of each row of the forget side in the mean over tokens: focus weights, and 0 for what CEU leaves out."""
    if config.method != "ceu":
        return rows.weights
    start = torch.searchsorted(rows.sequence, torch.arange(len(rows.tokens), device=rows.sequence.device))
    place = torch.arange(len(rows.sequence), device=rows.sequence.device) - start[rows.sequence]
    return rows.weights * (place >= CEU_SKIPS)


def count(answer_lengths: Sequence[int], lengths: Sequence[int], config: TrainConfig) -> int:
    """What the forget loss of a step is divided by: its texts, or its scored tokens."""
    if config.method in BY_TEXT:
        return len(answer_lengths)
    if whole_texts(config):
        return sum(length - 1 for length in lengths)
    skipped = CEU_SKIPS if config.method == "ceu" else 0
    return sum(max(0, length - skipped) for length in answer_lengths)


def forget_part(
    rows: Rows,
    config: TrainConfig,
    total: int | float,
    *,
    distributions: Distributions | Live | None = None,
    reference_nll: Float[Tensor, "batch"] | None = None,
) -> Part:
    """The forget side of a micro-batch.

    Args:
        rows: for ``dpo`` the forget answers, then as many texts with the answers that are preferred to them.
        total: ``count`` of the whole step.
        distributions: of the reference, for UnDIAL.
        reference_nll: of the reference, for NPO and DPO; one a text of ``rows``.
    """
    if config.method in BY_TEXT:
        return Part(
            lambda logits, part: nll_rows(logits, rows.targets[part]).double(),
            lambda nll: _by_text(nll, rows, config, reference_nll).sum() * (config.forget_weight / total),
            linear=False,
        )
    # in float64: the values are few, and a sum of thousands of them is not to be rounded
    weights = row_weights(rows, config).double() * (config.forget_weight / total)
    if config.method == "undial":
        assert distributions is not None
        return Part(_undial(rows, weights, config, distributions), torch.sum, linear=True)
    each = TOKENWISE[config.method]
    return Part(lambda logits, part: weights[part] * each(logits, rows.targets[part], config), torch.sum, linear=True)


def retain_part(
    rows: Rows, config: TrainConfig, total: int | float, *, distributions: Distributions | Live | None = None
) -> Part:
    """The retain side: NLL of the answers, or KL(reference || model) where they are predicted."""
    share = config.retain_weight / total
    if config.retain_loss != "kl":
        return Part(lambda logits, part: share * nll_rows(logits, rows.targets[part]).double(), torch.sum, linear=True)
    assert distributions is not None

    def kl(logits: Tensor, part: slice) -> Tensor:
        reference = on(distributions, part, logits.device)
        found = (
            kl_top_k_rows(logits, reference)
            if isinstance(reference, TopK)
            else kl_rows(logits, high(reference, logits))
        )
        return share * found.double()

    return Part(kl, torch.sum, linear=True)


def on(distributions: Distributions | Live, part: slice, device: torch.device) -> Distributions:
    """Some of the rows, on a device."""
    if isinstance(distributions, Live):
        return distributions[part]
    chosen = cut(distributions, part)
    if isinstance(chosen, TopK):
        return TopK(*(column.to(device) for column in tensors(chosen)))
    return chosen.to(device)


def high(reference: Tensor, logits: Tensor) -> Tensor:
    """Logits that were kept in a narrow format, in that of the others."""
    return reference.to(logits.dtype)


def _undial(rows: Rows, weights: Tensor, config: TrainConfig, distributions: Distributions | Live) -> Values:
    def values(logits: Tensor, part: slice) -> Tensor:
        teacher, targets = on(distributions, part, logits.device), rows.targets[part]
        if config.variant == "open_unlearning":  # the label -100 is used as an index there
            targets = torch.where(rows.answer[part], targets, logits.shape[-1] - 100)
        if isinstance(teacher, TopK):
            return weights[part] * undial_top_k_rows(logits, teacher, targets, config.gamma)
        return weights[part] * undial_rows(logits, high(teacher, logits), targets, config.gamma)

    return values


def _by_text(nll: Float[Tensor, "row"], rows: Rows, config: TrainConfig, reference_nll: Tensor | None) -> Tensor:
    sums = torch.zeros(len(rows.tokens), dtype=nll.dtype, device=nll.device).index_add(0, rows.sequence, nll)
    if config.method == "simnpo":
        counts = torch.bincount(rows.sequence, minlength=len(rows.tokens))
        return simnpo_sequences(sums, counts, config.strength, config.delta)
    assert reference_nll is not None
    reference = reference_nll.to(device=nll.device, dtype=nll.dtype)
    if config.method == "npo":
        return npo_sequences(sums, reference, config.strength)
    (lost, won), (lost_before, won_before) = sums.chunk(2), reference.chunk(2)
    return dpo_sequences(lost, lost_before, won, won_before, config.strength)
