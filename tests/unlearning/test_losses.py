"""The objectives against their definition, and against stored values of independent implementations."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dissect.errors import DissectError
from dissect.unlearning.losses import (
    TopK,
    ceu,
    ceu_rows,
    dpo,
    dpo_sequences,
    gradient_ascent,
    gradient_difference,
    kl,
    kl_rows,
    kl_top_k_rows,
    nll,
    nll_rows,
    npo,
    npo_sequences,
    pdu,
    pdu_rows,
    predicting_rows,
    satimp,
    satimp_rows,
    sequence_nll,
    simnpo,
    simnpo_sequences,
    soft_rows,
    targets_of_teacher,
    token_nll,
    undial,
    undial_rows,
    undial_top_k,
    undial_top_k_rows,
    wga,
    wga_rows,
)
from tests.support import loss_vectors

PUBLISHED_VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
"""Values of the published implementations, where they are at hand."""
OWN_VECTORS = loss_vectors.FOLDER
"""Values that ``tests/support/loss_vectors.py`` computes with numpy alone."""
VOCAB = 11
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def case(seed: int = 0, vocab: int = VOCAB) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 6, vocab, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, vocab, (3, 6), generator=generator)
    labels[:, :2] = -100
    labels[1, 4:] = -100
    return logits, labels


def other(seed: int = 1, vocab: int = VOCAB) -> Tensor:
    """Logits of a reference on the same tokens."""
    return case(seed, vocab)[0]


def predicts(labels: Tensor) -> Tensor:
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[:, :-1] = labels[:, 1:] != -100
    return mask


def with_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf)
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def like(x: Tensor, seed: int = 1) -> Tensor:
    return other(seed).to(x.dtype)


# every objective as a function of the logits that are trained and of the labels
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ga": gradient_ascent,
    "grad_diff": lambda x, y: gradient_difference(x, y, like(x), y),
    "kl": lambda x, y: kl(x, like(x), y),
    "npo": lambda x, y: npo(x, like(x), y),
    "npo_mean": lambda x, y: npo(x, like(x), y, variant="mean"),
    "simnpo": simnpo,
    "dpo": lambda x, y: dpo(x, like(x), y, like(x, 2), like(x, 3), y),
    "undial": lambda x, y: undial(x, like(x), y),
    "undial_top_k": lambda x, y: undial_top_k(x, like(x), y, k=3),
    "wga": wga,
    "satimp": satimp,
    "ceu": lambda x, y: ceu(x, y, skip=0),
}


# --- NLL and rows


def test_nll_by_hand():
    logits, labels = case()
    values = [
        [-torch.log_softmax(logits[b, t], -1)[labels[b, t + 1]] for t in range(5) if labels[b, t + 1] != -100]
        for b in range(3)
    ]
    sums, counts = sequence_nll(logits, labels)
    assert counts.tolist() == [len(row) for row in values] == [4, 2, 4]
    torch.testing.assert_close(sums, torch.stack([torch.stack(row).sum() for row in values]))
    torch.testing.assert_close(nll(logits, labels), torch.stack([v for row in values for v in row]).mean())
    torch.testing.assert_close(gradient_ascent(logits, labels), -nll(logits, labels))
    assert (token_nll(logits, labels)[1, 3:] == 0).all()


def test_rows_stand_sequence_by_sequence():
    logits, labels = case()
    rows, targets, batch = predicting_rows(logits, labels)
    assert batch.tolist() == [0] * 4 + [1] * 2 + [2] * 4
    places = [(b, t) for b in range(3) for t in range(5) if labels[b, t + 1] != -100]
    assert torch.equal(rows, torch.stack([logits[b, t] for b, t in places]))
    assert targets.tolist() == [labels[b, t + 1].item() for b, t in places]
    torch.testing.assert_close(
        sequence_nll(logits, labels)[0], torch.zeros(3).double().index_add(0, batch, nll_rows(rows, targets))
    )


def test_soft_rows_of_a_certain_target_are_the_nll():
    rows, targets, _ = predicting_rows(*case())
    certain = torch.nn.functional.one_hot(targets, VOCAB).double()
    torch.testing.assert_close(soft_rows(rows, certain), nll_rows(rows, targets))


def test_one_step_down_makes_the_answer_less_likely():
    logits, labels = case()
    _, gradient = with_gradient(lambda x: gradient_ascent(x, labels), logits)
    assert nll(logits - 0.1 * gradient, labels) > nll(logits, labels)


def test_a_batch_without_scored_tokens_has_sums_of_zero():
    logits, labels = case()
    sums, counts = sequence_nll(logits, torch.full_like(labels, -100))
    assert sums.tolist() == counts.tolist() == [0, 0, 0]


# --- all objectives


@pytest.mark.parametrize("name", OBJECTIVES)
def test_unscored_positions_do_not_matter(name: str):
    logits, labels = case()
    value, gradient = with_gradient(lambda x: OBJECTIVES[name](x, labels), logits)
    mask = predicts(labels)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask].abs().sum(-1) > 0).all()
    assert torch.equal(OBJECTIVES[name](logits.masked_fill(~mask[..., None], 7.0), labels), value)


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"kl", "grad_diff"}))
def test_a_step_down_makes_the_answers_less_likely(name: str):
    logits, labels = case()
    if name.startswith("undial"):  # which lowers them to what its teacher has, less γ
        logits[predicts(labels)] += 20 * torch.nn.functional.one_hot(labels[labels != -100], VOCAB)
    _, gradient = with_gradient(lambda x: OBJECTIVES[name](x, labels), logits)
    assert nll(logits - 1e-3 * gradient / gradient.norm(), labels) > nll(logits, labels)


@pytest.mark.parametrize("name", [*OBJECTIVES, "pdu"])
def test_half_precision_is_taken_in_float32(name: str):
    loss = {**OBJECTIVES, "pdu": pdu}[name]
    logits, labels = case()
    half, full = loss(logits.bfloat16(), labels), loss(logits.bfloat16().float(), labels)
    assert half.dtype == torch.float32
    assert loss(logits, labels).dtype == torch.float64
    torch.testing.assert_close(half, full, rtol=2e-2, atol=2e-2)  # references are rounded along


@pytest.mark.parametrize("name", [*OBJECTIVES, "pdu", "kl(labels)", "undial(official)", "undial(open)"])
def test_nothing_scored_is_refused(name: str):
    logits, labels = case(vocab=101 if name == "undial(open)" else VOCAB)
    loss = {
        **OBJECTIVES,
        "pdu": pdu,
        "kl(labels)": lambda x, y: kl(x, x, y, positions="labels"),
        "undial(official)": lambda x, y: undial(x, x, y, variant="official", tokens=labels),
        "undial(open)": lambda x, y: undial(x, x, y, variant="open_unlearning"),
    }[name]
    with pytest.raises(DissectError, match="no token is scored"):
        loss(logits, torch.full_like(labels, -100))


@pytest.mark.parametrize("name", ["npo", "npo_mean", "simnpo", "dpo"])
def test_a_sequence_without_an_answer_is_named(name: str):
    logits, labels = case()
    labels[1, 1:] = -100
    with pytest.raises(DissectError, match="in sequence 1 of the batch"):
        OBJECTIVES[name](logits, labels)


def test_no_gradient_reaches_a_reference():
    logits, labels = case()
    for loss in (
        lambda x: kl(logits, x, labels),
        lambda x: kl(logits, x, labels, "all", "muse"),
        lambda x: npo(logits, x, labels),
        lambda x: npo(logits, x, labels, variant="muse"),
        lambda x: dpo(logits, x, labels, logits, x, labels),
        lambda x: undial(logits, x, labels),
        lambda x: undial_top_k(logits, x, labels),
    ):
        assert not loss(other().requires_grad_()).requires_grad


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "grad_diff gamma": (lambda x, y: gradient_difference(x, y, x, y, gamma=-1.0), "gamma=-1.0: must be 0 or more"),
    "grad_diff alpha": (lambda x, y: gradient_difference(x, y, x, y, alpha=math.inf), "alpha=inf"),
    "kl positions": (lambda x, y: kl(x, x, y, positions="label"), r"'label' \(did you mean 'labels'\?\): choose from"),
    "kl variant": (lambda x, y: kl(x, x, y, variant="zap"), "variant='zap': choose from exact, muse"),
    "kl muse": (lambda x, y: kl(x, x, y, variant="muse"), "give positions='all', got 'predicting'"),
    "npo beta": (lambda x, y: npo(x, x, y, beta=0.0), "beta=0.0: must be a positive number"),
    "npo nan": (lambda x, y: npo(x, x, y, beta=math.nan), "beta=nan"),
    "npo variant": (lambda x, y: npo(x, x, y, variant="zap"), "variant='zap': choose from sum, mean, muse"),
    "simnpo beta": (lambda x, y: simnpo(x, y, beta=math.inf), "beta=inf"),
    "simnpo delta": (lambda x, y: simnpo(x, y, delta=math.nan), "delta=nan: must be a finite number"),
    "dpo beta": (lambda x, y: dpo(x, x, y, x, x, y, beta=-0.1), "beta=-0.1"),
    "dpo pairs": (lambda x, y: dpo(x, x, y, x[:1], x[:1], y[:1]), "got 3 and 1"),
    "undial gamma": (lambda x, y: undial(x, x, y, gamma=-3.0), "gamma=-3.0"),
    "undial variant": (lambda x, y: undial(x, x, y, variant="masks"), "choose from masked, open_unlearning, official"),
    "undial form": (lambda x, y: undial(x, x, y, form="ce"), "form='ce': choose from cross_entropy, kl"),
    "undial vocab": (lambda x, y: undial(x, x, y, variant="open_unlearning"), "the vocabulary has 11"),
    "undial tokens": (lambda x, y: undial(x, x, y, variant="official"), "5 labels are -100: give tokens="),
    "top-k gamma": (lambda x, y: undial_top_k(x, x, y, gamma=math.inf), "gamma=inf"),
    "top-k k": (lambda x, y: undial_top_k(x, x, y, k=0), "k=0: must be a whole number of at least 1"),
    "wga beta": (lambda x, y: wga(x, y, beta=0.0), "beta=0.0"),
    "satimp beta1": (lambda x, y: satimp(x, y, beta1=-1.0), "beta1=-1.0"),
    "satimp beta2": (lambda x, y: satimp(x, y, beta2=math.inf), "beta2=inf"),
    "ceu skip": (lambda x, y: ceu(x, y, skip=-1), "skip=-1"),
    "ceu all skipped": (lambda x, y: ceu(x, y, skip=4), "skip=4: the longest answer has 4 tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_are_checked(name: str):
    call, message = REFUSED[name]
    with pytest.raises(DissectError, match=message):
        call(*case())


# --- worked by hand: two positions, of which the first predicts token 0 with p = 3/4 and a reference has p = 1/2

Z, Z_REF, Y = torch.tensor([[3.0, 1.0]]).double().log(), torch.zeros(1, 2).double(), torch.tensor([0])
S, S_REF = -math.log(3 / 4), math.log(2)  # the NLLs


def one(logits: Tensor) -> Tensor:
    return torch.stack([logits, torch.full_like(logits, 5.0)], dim=1)


LABELS = torch.tensor([[-100, 0]])
TARGET = 0.5 / math.e**2 / (0.5 + 0.5 / math.e**2)  # of UnDIAL with γ = 2: q_y

BY_HAND: dict[str, tuple[Callable[[], Tensor], float]] = {
    "nll_rows": (lambda: nll_rows(Z, Y), S),
    "grad_diff": (lambda: gradient_difference(one(Z), LABELS, one(Z_REF), LABELS, 2.0, 1.5), -2 * S + 1.5 * S_REF),
    "kl": (lambda: kl(one(Z), one(Z_REF), LABELS), 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
    "kl_rows": (lambda: kl_rows(Z, Z_REF), 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
    "kl(labels)": (lambda: kl(one(Z), one(Z_REF), LABELS, "labels"), 0.0),
    "kl(all)": (lambda: kl(one(Z), one(Z_REF), LABELS, "all"), (math.log(2 / 3) + math.log(2)) / 4),
    "npo": (lambda: npo(one(Z), one(Z_REF), LABELS, 0.5), 4 * math.log(1 + (0.75 / 0.5) ** 0.5)),
    "npo_sequences": (
        lambda: npo_sequences(torch.tensor([S]).double(), torch.tensor([S_REF]).double(), 0.5),
        4 * math.log(1 + (0.75 / 0.5) ** 0.5),
    ),
    "simnpo": (lambda: simnpo(one(Z), LABELS, 2.0, 0.1), math.log(1 + (0.75 * math.exp(0.1)) ** 2)),
    "simnpo_sequences": (
        lambda: simnpo_sequences(torch.tensor([3.0]), torch.tensor([2]), 2.0, 0.5),
        math.log(1 + math.exp(-2.0)),
    ),
    "dpo": (  # the alternate answer went from 3/4 to 1/2
        lambda: dpo(one(Z), one(Z_REF), LABELS, one(Z_REF), one(Z), LABELS, 0.5),
        4 * math.log(1 + 1.5),
    ),
    "dpo(unscaled)": (
        lambda: dpo(one(Z), one(Z_REF), LABELS, one(Z_REF), one(Z), LABELS, 0.5, scaled=False),
        math.log(1 + 1.5),
    ),
    "dpo_sequences": (
        lambda: dpo_sequences(*(torch.tensor([v]) for v in (1.0, 2.0, 4.0, 3.0)), beta=0.5),
        4 * math.log(1 + math.exp(1.0)),
    ),
    "undial": (
        lambda: undial(one(Z), one(Z_REF), LABELS, 2.0),
        TARGET * S + (1 - TARGET) * math.log(4),
    ),
    "undial_rows": (lambda: undial_rows(Z, Z_REF, Y, 2.0), TARGET * S + (1 - TARGET) * math.log(4)),
    "wga": (lambda: wga(one(Z), LABELS, 2.0), -(0.75**2) * S),
    "wga_rows": (lambda: wga_rows(Z, Y, 1.0), -0.75 * S),
    "satimp": (lambda: satimp(one(Z), LABELS, 2.0, 3.0), -(0.75**2) * 0.25**3 * S),
    "satimp_rows": (lambda: satimp_rows(Z, Y, 0.0, 0.0), -S),
    "ceu": (lambda: ceu(one(Z), LABELS, skip=0), math.log(4)),
    "ceu_rows": (lambda: ceu_rows(Z, Y), math.log(4)),
    "pdu_rows": (lambda: pdu_rows(torch.tensor([[1.0, 2.0, 6.0]])), 9.0),
    "pdu": (lambda: pdu(torch.tensor([[[9.0, 0.0, 0.0], [1.0, 2.0, 6.0]]]), LABELS), 9.0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str):
    call, expected = BY_HAND[name]
    assert call().item() == pytest.approx(expected, rel=1e-6 if "sequences" in name else 1e-12, abs=1e-15)


# --- preferences


def test_at_the_reference():
    logits, labels = case()
    beta = 0.3
    expected = torch.tensor(2 / beta * math.log(2), dtype=torch.float64)
    for loss in (
        lambda x: npo(x, logits, labels, beta),
        lambda x: npo(x, logits, labels, beta, "mean"),
        lambda x: npo(x, logits, labels, beta, "muse"),
        lambda x: dpo(x, logits, labels, other(), other(), labels, beta),
    ):
        torch.testing.assert_close(with_gradient(loss, logits)[0], expected, **CLOSE)
    _, gradient = with_gradient(lambda x: npo(x, logits, labels, beta), logits)
    _, ascent = with_gradient(lambda x: -sequence_nll(x, labels)[0].sum() / 3, logits)
    torch.testing.assert_close(gradient, ascent, **CLOSE)


def test_dpo_makes_the_alternate_answer_likelier():
    """Which may have another length."""
    logits, labels = case()
    alternate, alternate_labels = other(2)[:, :4], case(2)[1][:, :4]
    _, gradient = with_gradient(lambda x: dpo(logits, other(), labels, x, other()[:, :4], alternate_labels), alternate)
    assert nll(alternate - 0.1 * gradient, alternate_labels) < nll(alternate, alternate_labels)


def test_ceu_leaves_the_first_answer_tokens_out():
    logits, labels = case()
    _, gradient = with_gradient(lambda x: ceu(x, labels, skip=2), logits)
    assert gradient.abs().sum(-1).nonzero().tolist() == [[0, 3], [0, 4], [2, 3], [2, 4]]


def test_wga_and_satimp_weigh_a_certain_token_without_loss_of_digits():
    logits = torch.tensor([[30.0, 0.0]])
    values = satimp_rows(logits, torch.tensor([0]), 1.0, 1.0), wga_rows(logits, torch.tensor([0]), 1.0)
    assert all(torch.isfinite(value).all() for value in values)
    assert (satimp_rows(logits, torch.tensor([1]), 0.0, 1.0) == -30).all()


def test_unshifted_positions():
    """PDU and kl(labels) score where the label itself stands."""
    logits, labels = case()
    for loss in (pdu, lambda x, y: kl(x, other(), y, positions="labels")):
        _, gradient = with_gradient(lambda x, loss=loss: loss(x, labels), logits)
        assert torch.equal(gradient.abs().sum(-1) > 0, labels != -100)


# --- UnDIAL


def logit(p: Tensor) -> Tensor:
    return p.log() - (-p).log1p()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 10.0])
def test_the_true_token_loses_gamma_and_the_others_keep_their_proportions(gamma: float):
    rows, targets, _ = predicting_rows(*case())
    q, p = targets_of_teacher(rows, targets, gamma), rows.softmax(1)
    true = torch.nn.functional.one_hot(targets, VOCAB).bool()
    torch.testing.assert_close(logit(q[true]), logit(p[true]) - gamma)
    rest = [x.masked_fill(true, 0) / x.masked_fill(true, 0).sum(1, keepdim=True) for x in (q, p)]
    torch.testing.assert_close(*rest)


def test_undial_without_gamma_is_at_rest_at_its_teacher():
    logits, labels = case()
    for loss in (undial, lambda *a: undial(*a[:3], a[3], form="kl"), lambda *a: undial_top_k(*a, k=3)):
        _, gradient = with_gradient(lambda x, loss=loss: loss(x, logits, labels, 0.0), logits)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)


def test_the_kl_form_is_less_a_constant():
    logits, labels = case()
    value, gradient = with_gradient(lambda x: undial(x, other(), labels, form="kl"), logits)
    full, expected = with_gradient(lambda x: undial(x, other(), labels), logits)
    assert 0 < value < full
    torch.testing.assert_close(gradient, expected, **CLOSE)
    rows, targets, _ = predicting_rows(other(), labels)
    best = torch.zeros_like(logits)
    best[predicts(labels)] = targets_of_teacher(rows, targets, 10.0).log()
    assert undial(best, other(), labels, form="kl").item() == pytest.approx(0, abs=1e-14)
    assert undial(best, other(), labels, gamma=300.0, form="kl") > 0  # e^-300: nothing is NaN


def test_focus():
    logits, labels = case()
    plain, expected = with_gradient(lambda x: undial(x, other(), labels), logits)
    ones = torch.ones(3, 6).double()
    value, gradient = with_gradient(lambda x: undial(x, other(), labels, weights=ones), logits)
    torch.testing.assert_close(value, plain, **CLOSE)
    torch.testing.assert_close(gradient, expected, **CLOSE)

    hard = torch.zeros_like(ones)
    hard[0, 3] = hard[2, 0] = 1  # the second of these is no answer token
    value, gradient = with_gradient(lambda x: undial(x, other(), labels, weights=hard), logits)
    assert gradient.abs().sum(-1).nonzero().tolist() == [[0, 2]]
    torch.testing.assert_close(gradient[0, 2], expected[0, 2], **CLOSE)  # the mean is over as many positions


def test_published_forms_go_over_every_position():
    vocab = 103
    logits, labels = case(vocab=vocab)
    teacher, tokens = other(vocab=vocab), labels.clamp(min=5)
    penalised = {"official": tokens, "open_unlearning": labels.where(labels != -100, 3)}
    for variant, ids in penalised.items():
        rows = [x[:, :-1].flatten(0, 1) for x in (logits, teacher)]
        expected = undial_rows(*rows, ids[:, 1:].flatten(), 10.0).mean()
        torch.testing.assert_close(undial(logits, teacher, labels, variant=variant, tokens=tokens), expected)
        weights = torch.full((3, 6), 2.0).double()
        weighed = undial(logits, teacher, labels, variant=variant, tokens=tokens, weights=weights)
        torch.testing.assert_close(weighed, 2 * expected)
    whole = undial(logits, teacher, tokens, variant="official")  # labels that are all scored
    torch.testing.assert_close(whole, undial(logits, teacher, labels, variant="official", tokens=tokens))


# --- top k


@pytest.mark.parametrize("gamma", [0.0, 0.3, 10.0])
@pytest.mark.parametrize("k", [VOCAB, VOCAB + 5])
def test_top_k_of_the_whole_vocabulary_is_exact(k: int, gamma: float):
    logits, labels = case()
    value, gradient = with_gradient(lambda x: undial_top_k(x, other(), labels, gamma, k), logits)
    expected = with_gradient(lambda x: undial(x, other(), labels, gamma), logits)
    torch.testing.assert_close((value, gradient), expected, **CLOSE)
    rows, targets, _ = predicting_rows(logits, labels)
    reference = predicting_rows(other(), labels)[0]
    stored = TopK.of(reference, targets, k)
    assert (stored.log_tail == -math.inf).all()
    divergence = with_gradient(lambda x: kl_top_k_rows(x, stored), rows)
    torch.testing.assert_close(divergence, with_gradient(lambda x: kl_rows(x, reference), rows), **CLOSE)


@pytest.mark.parametrize("k", [1, 2, 5, VOCAB - 1])
def test_merging_tokens_lowers_the_value(k: int):
    rows, targets, _ = predicting_rows(*case())
    reference = predicting_rows(other(), case()[1])[0]
    stored = TopK.of(reference, targets, k)
    assert stored.ids.shape == (10, k)
    assert (stored.ids == targets[:, None]).any(1).all()
    assert all(len(set(row)) == k for row in stored.ids.tolist())
    torch.testing.assert_close(stored.log_probs.exp().sum(1) + stored.log_tail.exp(), torch.ones(10).double())
    for gamma in (0.0, 3.0, 10.0):  # one stored distribution serves all
        whole, value = undial_rows(rows, reference, targets, gamma), undial_top_k_rows(rows, stored, targets, gamma)
        assert (value <= whole + 1e-12).all()
        merged = targets_of_teacher(reference, targets, gamma)
        tops, p = merged.gather(1, stored.ids), rows.softmax(1).gather(1, stored.ids)
        by_hand = -(tops * p.log()).sum(1) - (1 - tops.sum(1)) * (1 - p.sum(1)).log()
        torch.testing.assert_close(value, by_hand)
    divergence = kl_top_k_rows(rows, stored)
    assert (divergence >= 0).all()
    assert (divergence <= kl_rows(rows, reference) + 1e-12).all()


def test_top_k_far_below_the_resolution_of_one():
    """The rest has a mass of e^-60 in both: its log is known, where log(1 - Σ p) is not."""
    logits, targets = torch.tensor([[60.0, 59.0, 0.0, -1.0]]), torch.tensor([0])
    stored = TopK.of(logits, targets, 2)
    value, gradient = with_gradient(lambda x: undial_top_k_rows(x, stored, targets, 10.0), logits)
    expected = with_gradient(lambda x: undial_rows(x, logits, targets, 10.0), logits)
    torch.testing.assert_close((value, gradient), expected)
    assert kl_top_k_rows(logits, stored).item() == pytest.approx(0, abs=1e-5)


def test_top_k_takes_what_was_stored_narrowly():
    rows, targets, _ = predicting_rows(*case())
    stored = TopK.of(rows, targets, 4)
    narrow = TopK(ids=stored.ids.int(), log_probs=stored.log_probs.half(), log_tail=stored.log_tail.half())
    assert (kl_top_k_rows(other().flatten(0, 1)[:10], narrow) >= 0).all()
    for function in (kl_top_k_rows, lambda x, t: undial_top_k_rows(x, t, targets, 3.0)):
        torch.testing.assert_close(function(rows, narrow), function(rows, stored), rtol=1e-2, atol=1e-3)


def test_distributions_of_other_tokens_are_refused():
    rows, targets, _ = predicting_rows(*case())
    stored = TopK.of(rows, targets, 1)
    with pytest.raises(DissectError, match="row 0 is not among the teacher's"):
        undial_top_k_rows(rows, stored, (targets + 1) % VOCAB, 1.0)


# --- independent implementations

PUBLISHED: dict[str, Callable[..., Tensor]] = {
    "ga": lambda f, r, a: gradient_ascent(f.logits, f.labels),
    "grad_diff": lambda f, r, a: gradient_difference(f.logits, f.labels, r.logits, r.labels),
    "grad_diff_conceptvectors(alpha=1.5)": lambda f, r, a: gradient_difference(
        f.logits, f.labels, r.logits, r.labels, alpha=1.5
    ),
    "kl_retain_all_positions": lambda f, r, a: kl(r.logits, r.reference, r.labels, positions="all"),
    "kl_retain_masked(labels)": lambda f, r, a: kl(r.logits, r.reference, r.labels),
    "kl_retain_muse": lambda f, r, a: kl(r.logits, r.reference, r.labels, positions="all", variant="muse"),
    "npo_mean(beta=0.1)": lambda f, r, a: npo(f.logits, f.reference, f.labels, variant="mean"),
    "npo_muse(beta=0.1)": lambda f, r, a: npo(f.logits, f.reference, f.labels, variant="muse"),
    "npo+nll(beta=0.1,gamma=1,alpha=1)": lambda f, r, a: npo(f.logits, f.reference, f.labels) + nll(r.logits, r.labels),
    "simnpo(beta=4.5,delta=0)": lambda f, r, a: simnpo(f.logits, f.labels),
    "simnpo(beta=2.5,delta=1)": lambda f, r, a: simnpo(f.logits, f.labels, beta=2.5, delta=1.0),
    "simnpo+nll(beta=4.5,gamma=0.125,alpha=1)": lambda f, r, a: (
        0.125 * simnpo(f.logits, f.labels) + nll(r.logits, r.labels)
    ),
    "dpo(beta=0.1)": lambda f, r, a: dpo(f.logits, f.reference, f.labels, a.logits, a.reference, a.labels),
    "dpo_tofu_unscaled(beta=0.1)": lambda f, r, a: dpo(
        f.logits, f.reference, f.labels, a.logits, a.reference, a.labels, scaled=False
    ),
    "wga(beta=1)": lambda f, r, a: wga(f.logits, f.labels),
    "satimp(5,1)": lambda f, r, a: satimp(f.logits, f.labels),
    "ceu(ignore_first=1)": lambda f, r, a: ceu(f.logits, f.labels),
    "pdu_forget": lambda f, r, a: pdu(f.logits, f.labels),
}
for _beta in (0.1, 0.5, 1.0):
    PUBLISHED[f"npo(beta={_beta})"] = lambda f, r, a, b=_beta: npo(f.logits, f.reference, f.labels, b)
for _gamma in (3.0, 10.0, 30.0):
    for _name, _given in {
        "masked": {},
        "open_unlearning": {"variant": "open_unlearning"},
        "official": {"variant": "official"},
        "kl_form": {"form": "kl"},
    }.items():
        PUBLISHED[f"undial_{_name}(beta={_gamma})"] = lambda f, r, a, g=_gamma, given=_given: undial(
            f.logits, f.reference, f.labels, g, tokens=f.tokens, **given
        )
for _k in (16, 64, 150):
    PUBLISHED[f"undial_topk(beta=10,k={_k})"] = lambda f, r, a, k=_k: undial_top_k(
        f.logits, f.reference, f.labels, 10.0, k
    )
INPUTS_NOT_STORED = {"rmu_activation", "rmu_activation_open_unlearning"}


class Side:
    """One of the three sides of a stored case."""

    def __init__(self, arrays: dict[str, np.ndarray], name: str, dtype: torch.dtype) -> None:
        self.tokens, self.labels = (torch.tensor(arrays[f"{name}.{what}"]) for what in ("input_ids", "labels"))
        self.reference = torch.tensor(arrays[f"{name}.ref_logits"], dtype=dtype)
        self.logits = torch.tensor(arrays[f"{name}.logits"], dtype=dtype, requires_grad=True)


@cache
def stored(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(folder / loss_vectors.INPUTS) as arrays:
        return dict(arrays), json.loads((folder / loss_vectors.EXPECTED).read_text())


needs_published = pytest.mark.skipif(not PUBLISHED_VECTORS.is_dir(), reason="the published test vectors are not here")
SOURCES = [
    pytest.param(OWN_VECTORS, id="numpy"),
    pytest.param(PUBLISHED_VECTORS, id="published", marks=needs_published),
]


@pytest.mark.parametrize("folder", SOURCES)
def test_no_stored_value_is_left_out(folder: Path):
    assert stored(folder)[1].keys() - INPUTS_NOT_STORED == PUBLISHED.keys()


def test_the_stored_values_are_those_of_the_script():
    arrays, expected = stored(OWN_VECTORS)
    made = loss_vectors.make_inputs()
    assert made.keys() == arrays.keys() and all(np.array_equal(made[name], arrays[name]) for name in made)
    values = loss_vectors.losses(arrays)
    assert values == pytest.approx({name: each["loss"] for name, each in expected.items()}, rel=1e-13)


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_against_independent_values(name: str, dtype: torch.dtype, tolerance: float, folder: Path):
    arrays, values = stored(folder)
    sides = {side: Side(arrays, side, dtype) for side in ("forget", "retain", "alternate")}
    loss = PUBLISHED[name](*sides.values())
    loss.backward()
    expected = values[name]
    assert loss.item() == pytest.approx(expected["loss"], rel=tolerance)
    moved = {side: each.logits.grad for side, each in sides.items() if each.logits.grad is not None}
    assert moved.keys() == expected["grad_norm"].keys()
    for side, gradient in moved.items():
        assert gradient.norm().item() == pytest.approx(expected["grad_norm"][side], rel=tolerance)
