"""The unlearning methods, one record each.

A new objective is a file in ``losses/`` and a record here: command line, checks, training and planning follow. The file
imports no torch, so that help texts stay quick; losses are looked up when they are called.
"""

# ruff: noqa: RUF001  # the papers' letters stand in the equations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dissect.lazy import LazyModule
from dissect.unlearning.method_record import Method, PublishedForm

if TYPE_CHECKING:
    from torch import Tensor

    from dissect.unlearning import losses
    from dissect.unlearning.loss_inputs import AnswerInputs, TokenInputs
else:
    losses = LazyModule("dissect.unlearning.losses")


def _dpo(answers: "AnswerInputs", beta: float) -> "Tensor":
    """Loss of the first half of the answers, which the second half is preferred to."""
    (lost, won), (lost_before, won_before) = answers.nll.chunk(2), answers.reference_nll.chunk(2)
    return losses.dpo_sequences(lost, lost_before, won, won_before, beta)


def _undial(tokens: "TokenInputs", gamma: float, variant: str) -> "Tensor":
    """Distillation from the whole distribution of the teacher, or from its most likely tokens."""
    targets = tokens.targets
    if UNDIAL_VARIANTS[variant].index_minus_100:
        targets = targets.where(tokens.in_answer, tokens.logits.shape[-1] + losses.IGNORED)
    rows: Any = losses.undial_top_k_rows if isinstance(tokens.reference, losses.TopK) else losses.undial_rows
    return rows(tokens.logits, tokens.reference, targets, gamma)


def _distilled(tokens: "TokenInputs") -> "Tensor":
    """Distillation from the whole distribution of the reference, or from its most likely tokens."""
    rows: Any = losses.kl_top_k_rows if isinstance(tokens.reference, losses.TopK) else losses.kl_rows
    return rows(tokens.logits, tokens.reference)


UNDIAL_VARIANTS = {
    "masked": PublishedForm(),
    "open_unlearning": PublishedForm(whole_texts=True, index_minus_100=True),
    "official": PublishedForm(whole_texts=True),
}

RMU_FORMS = {
    "masked": PublishedForm(),
    "official": PublishedForm(whole_texts=True),
    "open_unlearning": PublishedForm(),
}

_RECORDS = (
    Method(
        name="ga",
        label="GA",
        about="gradient ascent",
        equation="-(mean NLL of a token)",
        source="Jang et al. (2023), arXiv:2210.01504",
        loss=lambda tokens: -losses.nll_rows(tokens.logits, tokens.targets),
        retain="none",
    ),
    Method(
        name="grad_diff",
        label="GradDiff",
        about="gradient ascent beside a retain loss",
        equation="-(mean NLL of a token), beside a retain loss",
        source="Liu et al. (2022), arXiv:2203.12817",
        loss=lambda tokens: -losses.nll_rows(tokens.logits, tokens.targets),
        retain="required",
    ),
    Method(
        name="npo",
        label="NPO",
        about="negative preference optimisation",
        equation="mean over answers of -(2/β) log σ(β (NLL - NLL of the reference))",
        source="Zhang et al. (2024), arXiv:2404.05868",
        loss=lambda answers, beta: losses.npo_sequences(answers.nll, answers.reference_nll, beta),
        sees="answers",
        reference="nll",
        beta=0.1,
    ),
    Method(
        name="simnpo",
        label="SimNPO",
        about="NPO without a reference",
        equation="mean over answers of -(2/β) log σ(β (NLL / length - δ))",
        source="Fan et al. (2024), arXiv:2410.07163",
        loss=lambda answers, beta, delta: losses.simnpo_sequences(answers.nll, answers.lengths, beta, delta),
        sees="answers",
        beta=4.5,
        settings=("delta",),
    ),
    Method(
        name="dpo",
        label="DPO",
        about="preference for an alternate answer over the forget answer",
        equation="mean over answers of -(2/β) log σ(β (gain of the alternate answer - gain of the forget answer))",
        source="Rafailov et al. (2023), arXiv:2305.18290",
        loss=_dpo,
        sees="answers",
        reference="nll",
        beta=0.1,
        alternates=True,
    ),
    Method(
        name="undial",
        label="UnDIAL",
        about="self-distillation with the true token made unlikely",
        equation="mean over tokens of the cross-entropy to softmax(z of the teacher - γ at y)",
        source="Dong et al. (2024), arXiv:2402.10052",
        loss=_undial,
        reference="distributions",
        settings=("gamma",),
        variants=UNDIAL_VARIANTS,
        focus=True,
        logit_arrays=5,
    ),
    Method(
        name="wga",
        label="WGA",
        about="gradient ascent weighted by the token's probability",
        equation="-(mean over tokens of p^β NLL), p held fixed",
        source="Wang et al. (2025), arXiv:2502.19301",
        loss=lambda tokens, beta: losses.wga_rows(tokens.logits, tokens.targets, beta=beta),
        beta=1.0,
    ),
    Method(
        name="satimp",
        label="SatImp",
        about="gradient ascent weighted by saturation and importance",
        equation="-(mean over tokens of p^β (1 - p) NLL), p held fixed",
        source="Yang et al. (2025), arXiv:2505.11953",
        loss=lambda tokens, beta: losses.satimp_rows(tokens.logits, tokens.targets, beta1=beta),
        beta=5.0,
    ),
    Method(
        name="ceu",
        label="CE-U",
        about="cross-entropy to the model's own prediction without the true token",
        equation="mean over tokens but the first of the cross-entropy to softmax(z with -∞ at y), held fixed",
        source="Yang (2025), arXiv:2503.01224",
        loss=lambda tokens: losses.ceu_rows(tokens.logits, tokens.targets),
        skips=1,
        logit_arrays=5,
    ),
    Method(
        name="max_entropy",
        label="MaxEnt",
        about="every token made equally likely",
        equation="mean over tokens of KL(uniform ‖ p)",
        source="Yuan et al. (2024), arXiv:2410.08109",
        loss=lambda tokens: losses.max_entropy_rows(tokens.logits),
    ),
    Method(
        name="idk_nll",
        label="IdkNLL",
        about="learning of alternate answers in place of the forget answers",
        equation="mean NLL of a token of the alternate answers",
        source="Maini et al. (2024), arXiv:2401.06121",
        loss=lambda tokens: losses.nll_rows(tokens.logits, tokens.targets),
        alternates=True,
        replaces=True,
    ),
    Method(
        name="pdu",
        label="PDU",
        about="flattened logits, with a retain weight that rises until retained facts are kept",
        equation="mean over tokens of (max z - mean z)², beside λ · retain loss, whose λ is stepped",
        source="Entesari et al. (2025), arXiv:2506.05314",
        loss=lambda tokens: losses.pdu_rows(tokens.logits),
        run_settings=("retain_eps", "dual_step", "dual_warmup_epochs"),
        own_positions=True,
        retain="required",
    ),
    Method(
        name="task_vector",
        label="TaskVector",
        about="the opposite of what learning the forget facts does",
        equation="mean NLL of a token; at the end base - a (tuned - base)",
        source="Ilharco et al. (2023), arXiv:2212.04089",
        loss=lambda tokens: losses.nll_rows(tokens.logits, tokens.targets),
        run_settings=("task_scale",),
        retain="none",
        negates=True,
    ),
    Method(
        name="noise_and_repair",
        label="Noise",
        about="noise in every matrix, then learning of the retained facts",
        equation="mean NLL of a token of the retained answers, from W + s σ(W) N on",
        source="the plain form of UNDO",
        loss=lambda tokens: losses.nll_rows(tokens.logits, tokens.targets),
        run_settings=("noise",),
        retain="required",
        perturbs="noise",
    ),
    Method(
        name="undo",
        label="UNDO",
        about="weights shrunk and perturbed, then distillation from the model before",
        equation="mean over retained tokens of KL(reference ‖ model), from (1 - α) W + α β Xavier noise on",
        source="Lee et al. (2025), arXiv:2506.06278",
        loss=_distilled,
        run_settings=("undo_strength", "undo_noise"),
        reference="distributions",
        retain="required",
        perturbs="shrink",
    ),
    Method(
        name="rmu",
        label="RMU",
        about="steering of a layer's states towards a random direction",
        equation="mean over answers of the token mean of ‖h - c·u‖² / d, beside a loss on retained states",
        source="Li et al. (2024), arXiv:2403.03218; `adaptive`: Huu-Tien et al. (2024), arXiv:2408.06223",
        loss=lambda inputs: losses.squared_distance_rows(inputs.states, inputs.goal),
        sees="states",
        run_settings=("steering_layer", "steering_coeff", "adaptive"),
        variants=RMU_FORMS,
        retain="required",
        scope="mlp.W_out",
        logit_arrays=0,
    ),
    Method(
        name="learn",
        label="learning",
        about="gradient descent on the NLL, for attacks that train facts back",
        equation="mean NLL of a token",
        source="the opposite of GA",
        loss=lambda tokens: losses.nll_rows(tokens.logits, tokens.targets),
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _RECORDS}
"""Every method by name."""
VARIANTS: tuple[str, ...] = tuple({name: None for method in _RECORDS for name in method.variants})
"""Names of all variants of all methods."""


def having(condition: Callable[[Method], object]) -> str:
    """Names of the methods for which ``condition`` holds, as a message lists them."""
    return ", ".join(method.name for method in METHODS.values() if condition(method))
