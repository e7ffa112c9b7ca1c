"""PDU's dual variable: step by step as published, across a kill, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

import dissect
from dissect.errors import DissectError
from dissect.unlearning.losses import max_entropy, pdu
from tests.unlearning.test_training_step import RETAINED


def train(model, facts, **settings):
    settings = {"retain_eps": 1.0, "dual_warmup_epochs": 2, "dual_step": 0.5, "lr": 1e-2, "epochs": 6, **settings}
    return dissect.unlearn(
        model, forget=facts, retain=dissect.Facts(RETAINED), method="pdu", progress=False, **settings
    ).records


def test_every_step_is_the_published_one(tiny_pair, facts):
    records = train(dissect.load(tiny_pair("llama")[0], progress=False), facts)
    weight = 1.0
    for record in records:
        assert record["retain_weight"] == pytest.approx(weight, rel=1e-12)
        if record["epoch"] >= 2:
            weight = max(0.0, weight + 0.5 * (record["retain"] / weight - 1.0))
    assert [r["retain_weight"] for r in records[:3]] == [1.0] * 3
    assert records[-1]["retain_weight"] > 1.0  # the retain loss of a random model is above ε


def test_a_generous_limit_brings_the_weight_to_nothing(tiny_pair, facts):
    records = train(dissect.load(tiny_pair("llama")[0], progress=False), facts, retain_eps=50.0, dual_warmup_epochs=0)
    assert records[1]["retain_weight"] == pytest.approx(0.0, abs=1e-90)
    assert all(r["loss"] == pytest.approx(r["forget"]) for r in records[1:])


def test_a_killed_run_continues_with_its_weight(tiny_pair, facts, tmp_path):
    def dies(model, record):
        if record["step"] == 4:
            raise KeyboardInterrupt

    def load():
        return dissect.load(tiny_pair("llama")[0], progress=False)

    whole = train(load(), facts, out=tmp_path / "whole", checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(load(), facts, out=tmp_path / "broken", checkpoint_every=1, callbacks=[dies])
    broken = train(load(), facts, out=tmp_path / "broken", checkpoint_every=1)
    assert [r["retain_weight"] for r in broken] == [r["retain_weight"] for r in whole]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retain_eps": None}, "set retain_eps"),
        ({"retain_eps": -1.0}, "retain_eps=-1.0: must be 0 or more"),
        ({"dual_step": -0.5}, "dual_step=-0.5: must be 0 or more"),
    ],
)
def test_wrong_settings_are_refused(settings, message, tiny_pair, facts):
    with pytest.raises(DissectError, match=message):
        train(dissect.load(tiny_pair("llama")[0], progress=False), facts, **settings)


def test_no_retained_facts_are_refused(tiny_pair, facts):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    with pytest.raises(DissectError, match="needs retained facts"):
        dissect.unlearn(model, forget=facts, method="pdu", retain_eps=1.0, progress=False)


def test_losses_of_flat_logits_against_torch():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[-100, -100, 1, 2, -100], [-100, 3, 4, 5, 6]])
    rows = logits[:, :-1][labels[:, 1:] != -100]
    uniform = torch.full_like(rows, 1 / 7)
    expected = F.kl_div(rows.softmax(-1).log(), uniform, reduction="none").sum(-1).mean()
    ours = max_entropy(logits, labels)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    assert max_entropy(torch.zeros_like(logits), labels) == pytest.approx(0.0, abs=1e-14)
    assert pdu(torch.zeros_like(logits), labels) == 0
