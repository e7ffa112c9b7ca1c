"""Direct preference optimisation (DPO; Rafailov et al. 2023, arXiv:2305.18290) with the forget answer dispreferred.

Used so in TOFU (arXiv:2401.06121) with "I don't know" answers as the preferred ones.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dissect.errors import DissectError
from dissect.unlearning.losses import setting_checks as checks
from dissect.unlearning.losses.nll import answer_nll


def dpo(
    logits: Float[Tensor, "batch pos vocab"],
    ref_logits: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    alternate_logits: Float[Tensor, "alternate alternate_pos vocab"],
    alternate_ref_logits: Float[Tensor, "alternate alternate_pos vocab"],
    alternate_labels: Int[Tensor, "alternate alternate_pos"],
    beta: float = 0.1,
    scaled: bool = True,
) -> Float[Tensor, ""]:
    """L = -c mean over pairs of log σ(β log(π_θ(y_w|x) / π_ref(y_w|x)) - β log(π_θ(y_l|x) / π_ref(y_l|x))), in nats.

    Minimising L makes the forget answer y_l less likely and the alternate answer y_w more, both against the
    reference; at the reference L is c ln 2. log π sums over an answer's tokens.

    Args:
        logits: logits of the trained model on the forget answers.
        ref_logits: logits of the reference on them; no gradient reaches it.
        labels: the forget answers.
        alternate_logits: logits of the trained model on the alternate answers, one for each forget answer.
        alternate_ref_logits: logits of the reference on them.
        alternate_labels: the alternate answers.
        beta: β > 0.
        scaled: c = 2/β, as in open-unlearning (arXiv:2506.12618); False: c = 1, as in the paper and TOFU.

    Raises:
        DissectError: a sequence has no scored token, β is out of range, or the answers do not come in pairs.
    """
    if len(labels) != len(alternate_labels):
        raise DissectError(
            f"every forget answer needs one alternate answer: got {len(labels)} and {len(alternate_labels)}"
        )
    return dpo_sequences(
        answer_nll(logits, labels)[0],
        answer_nll(ref_logits, labels)[0],
        answer_nll(alternate_logits, alternate_labels)[0],
        answer_nll(alternate_ref_logits, alternate_labels)[0],
        beta,
        scaled,
    ).mean()


def dpo_sequences(
    nll: Float[Tensor, " batch"],
    ref_nll: Float[Tensor, " batch"],
    alternate_nll: Float[Tensor, " batch"],
    alternate_ref_nll: Float[Tensor, " batch"],
    beta: float = 0.1,
    scaled: bool = True,
) -> Float[Tensor, " batch"]:
    """-c log σ(β [(NLL_ref - NLL_θ)(y_w) - (NLL_ref - NLL_θ)(y_l)]) of each pair, from summed NLLs in nats.

    The reference is held fixed; c as in `dpo`.

    Raises:
        DissectError: β is out of range.
    """
    checks.positive(beta=beta)
    margin = (alternate_ref_nll.detach() - alternate_nll) - (ref_nll.detach() - nll)
    return -(2 / beta if scaled else 1.0) * F.logsigmoid(beta * margin)
