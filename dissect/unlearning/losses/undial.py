"""UnDIAL (Dong et al. 2024, arXiv:2402.10052): self-distillation from a teacher whose true token is made unlikely."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import IGNORED, full_precision, scored_next, soft_rows

Form = Literal["cross_entropy", "kl"]
Variant = Literal["masked", "open_unlearning", "official"]


def undial(
    logits: Float[Tensor, "batch pos vocab"],
    teacher_logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    gamma: float = 10.0,
    variant: str = "masked",
    tokens: Int[Tensor, "batch pos"] | None = None,
    weights: Float[Tensor, "batch pos"] | None = None,
    form: str = "cross_entropy",
) -> Float[Tensor, ""]:
    """L = mean over positions of -Σ_v q_v log p_v, q = softmax(z^T - γ onehot(y)), in nats per position.

    Minimising L moves the model to q: the true token y loses γ nats of its logit, the others keep their proportions.
    The gradient by the logits is p - q, which is bounded and ends at q, so that training settles there.

    Args:
        logits: z^S, the logits of the trained model.
        teacher_logits: z^T, the logits of the teacher on the same tokens; no gradient reaches it.
        labels: the forget answers.
        gamma: γ >= 0 in nats.
        variant: ``masked``: the positions that predict an answer token. The other two go over every position but the
            last, padding included: ``official`` as in the authors' code, which penalises whatever token comes next;
            ``open_unlearning`` as in that library (arXiv:2506.12618), which takes a next label of -100 for an index
            from the end and penalises the token vocab - 100 there.
        tokens: the texts' tokens, for ``official``, which without them takes labels that are all scored; other variants
            do not look at them.
        weights: weight of each token, read like labels: w at t + 1 weighs the loss at t (focused UnDIAL). The mean
            is over the same number of positions, whatever they add up to.
        form: ``cross_entropy``, or ``kl``: less the entropy of q, which is KL(q ‖ p), at least 0 and with the same
            gradient.

    Raises:
        DissectError: no token is scored, γ is out of range, an unknown choice, a vocabulary below 100 with
            ``open_unlearning``, or ``official`` without the tokens.
    """
    checks.not_negative(gamma=gamma)
    checks.one_of(get_args(Variant), variant=variant)
    checks.one_of(get_args(Form), form=form)
    scored, penalised = scored_next(labels), labels[:, 1:]
    if variant != "masked":
        penalised = _official(labels, tokens) if variant == "official" else _open_unlearning(labels, logits.shape[2])
        scored = torch.ones_like(scored)
    q = targets_of_teacher(teacher_logits[:, :-1][scored], penalised[scored], gamma)
    values = soft_rows(logits[:, :-1][scored], q)
    if form == "kl":
        values = values - torch.special.entr(q).sum(1)
    if weights is not None:
        values = values * weights[:, 1:][scored]
    return values.mean()


def undial_rows(
    logits: Float[Tensor, "n vocab"],
    teacher_logits: Float[Tensor, "n vocab"],
    targets: Int[Tensor, " n"],
    gamma: float = 10.0,
) -> Float[Tensor, " n"]:
    """-Σ_v q_v log p_v in nats, q from `targets_of_teacher`.

    Raises:
        DissectError: γ is out of range.
    """
    return soft_rows(logits, targets_of_teacher(teacher_logits, targets, gamma))


def targets_of_teacher(
    teacher_logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], gamma: float = 10.0
) -> Float[Tensor, "n vocab"]:
    """q = softmax(z^T - γ onehot(y)): logit(q_y) = logit(p_y) - γ. The teacher is held fixed.

    Raises:
        DissectError: γ is out of range.
    """
    checks.not_negative(gamma=gamma)
    logits = full_precision(teacher_logits.detach())
    return logits.scatter_add(1, targets[:, None], torch.full_like(logits[:, :1], -gamma)).softmax(1)


def _official(labels: Int[Tensor, "batch pos"], tokens: Int[Tensor, "batch pos"] | None) -> Int[Tensor, "batch pos-1"]:
    following = labels[:, 1:] if tokens is None else tokens[:, 1:]
    if tokens is None and (following == IGNORED).any():
        raise DissectError(
            f"variant='official' penalises every next token, and {int((following == IGNORED).sum())} labels are "
            f"{IGNORED}: give tokens="
        )
    return following


def _open_unlearning(labels: Int[Tensor, "batch pos"], vocab: int) -> Int[Tensor, "batch pos-1"]:
    if vocab < -IGNORED:
        raise DissectError(
            f"variant='open_unlearning' penalises token vocab - 100 and the vocabulary has {vocab}: "
            "use variant='masked'"
        )
    return labels[:, 1:].where(labels[:, 1:] != IGNORED, vocab + IGNORED)
