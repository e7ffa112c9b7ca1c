"""A teacher's distribution as its k most likely tokens and the mass of the rest, for UnDIAL and for KL.

The rest counts as one class, for the student too. Merging classes can only lower a divergence, and the cross-entropy
to them, so the values are at most those of the whole vocabulary; with k = vocab they are equal.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.flat_rows import full_precision, predicting_rows


@dataclass(frozen=True, eq=False)
class TopK:
    """One distribution a row; it serves every γ, which only rescales it (see `undial_top_k_rows`)."""

    ids: Int[Tensor, "n k"]
    """Distinct tokens, the true one among them."""
    log_probs: Float[Tensor, "n k"]
    """Log-probabilities of those tokens."""
    log_tail: Float[Tensor, " n"]
    """Log of the mass of all other tokens; -inf where there are none."""

    @classmethod
    def of(cls, logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], k: int) -> "TopK":
        """The k most likely tokens; the true token takes the place of the last where it is not one of them.

        Raises:
            DissectError: k is below 1.
        """
        checks.count(1, k=k)
        log_probs = full_precision(logits.detach()).log_softmax(1)
        ids = log_probs.topk(min(k, logits.shape[1]), dim=1).indices
        absent = (ids != targets[:, None]).all(1)
        ids[:, -1] = targets.where(absent, ids[:, -1])
        tail = log_probs.scatter(1, ids, -float("inf")).logsumexp(1)
        return cls(ids=ids, log_probs=log_probs.gather(1, ids), log_tail=tail)


def undial_top_k(
    logits: Float[Tensor, "batch pos vocab"],
    teacher_logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    gamma: float = 10.0,
    k: int = 64,
) -> Float[Tensor, ""]:
    """L = mean over the positions that predict an answer token of `undial_top_k_rows`, in nats per position.

    Minimising L does what `undial` does, except that it leaves the proportions among the teacher's unlikely tokens
    free.

    Raises:
        DissectError: no token is scored, or γ or k is out of range.
    """
    rows, targets, _ = predicting_rows(logits, labels)
    teacher = TopK.of(predicting_rows(teacher_logits, labels)[0], targets, k)
    return undial_top_k_rows(rows, teacher, targets, gamma).mean()


def undial_top_k_rows(
    logits: Float[Tensor, "n vocab"], teacher: TopK, targets: Int[Tensor, " n"], gamma: float = 10.0
) -> Float[Tensor, " n"]:
    """-Σ_c q_c log p_c in nats over the classes c: the teacher's top tokens, and all others together.

    Lowering the true token's logit by γ changes its probability to q_y = p_y e^-γ / Z and every other to
    q_v = p_v / Z, Z = 1 - p_y + p_y e^-γ, so that the mass of the rest is all that need be known of it.

    Raises:
        DissectError: γ is out of range, or a target is not among the teacher's tokens.
    """
    checks.not_negative(gamma=gamma)
    true = teacher.ids == targets[:, None]
    if not true.any(1).all():
        row = int(true.any(1).int().argmin())
        raise DissectError(
            f"token {int(targets[row])} of row {row} is not among the teacher's: was it stored for others?"
        )
    log_probs = full_precision(teacher.log_probs)
    lowered = log_probs.where(~true, log_probs - gamma)
    log_q = _log_classes(lowered, teacher.log_tail, logits.shape[1])
    return -(log_q.exp() * _student_classes(logits, teacher.ids)).sum(1)


def kl_top_k_rows(logits: Float[Tensor, "n vocab"], reference: TopK) -> Float[Tensor, " n"]:
    """KL(p_ref ‖ p) in nats over the reference's top tokens and all others together; at least 0."""
    log_q = _log_classes(full_precision(reference.log_probs), reference.log_tail, logits.shape[1])
    difference = log_q - _student_classes(logits, reference.ids)
    return (log_q.exp() * difference.where(log_q > -float("inf"), 0.0)).sum(1)


def _log_classes(top: Float[Tensor, "n k"], tail: Float[Tensor, " n"], vocab: int) -> Float[Tensor, "n classes"]:
    """Log-probabilities of the classes, brought to a sum of 1; the rest is one of them where there is a rest.

    With the true token lowered, dividing by the sum is dividing by Z, but without the cancellation in 1 - p_y where
    p_y is nearly 1.
    """
    classes = top if top.shape[1] == vocab else torch.cat([top, full_precision(tail)[:, None]], dim=1)
    return classes.log_softmax(1)


def _student_classes(logits: Float[Tensor, "n vocab"], ids: Int[Tensor, "n k"]) -> Float[Tensor, "n classes"]:
    """The student's log-probabilities of these tokens, and of the rest, where there is one."""
    logits, ids = full_precision(logits), ids.long()
    top = logits.gather(1, ids)
    if ids.shape[1] < logits.shape[1]:
        # not log(1 - Σ p): the rest may be far below the resolution of 1. Of an empty rest the gradient would be NaN.
        top = torch.cat([top, logits.scatter(1, ids, -float("inf")).logsumexp(1, keepdim=True)], dim=1)
    return top - logits.logsumexp(1, keepdim=True)
