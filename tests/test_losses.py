"""The objectives against their definition, and against stored values of the published implementations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dissect.errors import DissectError
from dissect.unlearning.losses import gradient_ascent, nll, sequence_nll, token_nll

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 6, 11, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 11, (3, 6), generator=generator)
    labels[:, :2] = -100
    labels[1, 4:] = -100
    return logits, labels


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


def test_unscored_positions_do_not_matter():
    logits, labels = case()
    logits.requires_grad_()
    gradient_ascent(logits, labels).backward()
    predicts = torch.zeros(3, 6, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != -100
    assert (logits.grad[~predicts] == 0).all()
    assert (logits.grad[predicts].abs().sum(-1) > 0).all()


def test_one_step_down_makes_the_answer_less_likely():
    logits, labels = case()
    logits.requires_grad_()
    gradient_ascent(logits, labels).backward()
    assert nll(logits.detach() - 0.1 * logits.grad, labels) > nll(logits.detach(), labels)


def test_half_precision_is_scored_in_float32():
    logits, labels = case()
    half = logits.bfloat16()
    assert nll(half, labels).dtype == torch.float32
    torch.testing.assert_close(nll(half, labels), nll(half.float(), labels))


def test_nothing_scored_is_refused():
    logits, labels = case()
    with pytest.raises(DissectError, match="no token is scored"):
        nll(logits, torch.full_like(labels, -100))


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the test vectors are not here")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gradient_ascent_against_the_published_values(dtype: torch.dtype, tolerance: float):
    expected = json.loads((VECTORS / "unlearning_losses_expected.json").read_text())["ga"]
    with np.load(VECTORS / "unlearning_losses_inputs.npz") as arrays:
        named = {name.replace("/", "_").replace(".", "_"): arrays[name] for name in arrays.files}
    logits = torch.tensor(named["forget_logits"], dtype=dtype, requires_grad=True)
    loss = gradient_ascent(logits, torch.tensor(named["forget_labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=tolerance)
    assert logits.grad.norm().item() == pytest.approx(expected["grad_norm"]["forget"], rel=tolerance)
