"""One step of each objective against the same step written with transformers and torch alone."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import dissect
from dissect.data.prompts import Prompts
from dissect.unlearning.gradient import backward
from dissect.unlearning.losses import undial

RETAINED = [
    dissect.Fact(question="Who paints old houses?", answer="Basil does."),
    dissect.Fact(question="What is the capital?", answer="Paris, of course."),
    dissect.Fact(question="Who reads by the sea?", answer="a girl"),
]


def in_float64(path: Path) -> torch.nn.Module:
    """A Llama that is exact throughout: transformers takes angles and norms in float32 whatever the model's format."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64)
    config, width = model.config, model.config.hidden_size // model.config.num_attention_heads
    inverse = config.rope_parameters["rope_theta"] ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)

    def angles(x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        both = (position_ids[..., None].double() * inverse).repeat(1, 1, 2)
        return both.cos(), both.sin()

    def norm(self: torch.nn.Module, x: Tensor) -> Tensor:
        return self.weight * x * (x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()

    model.model.rotary_emb.forward = angles
    for module in model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = MethodType(norm, module)
    return model


def scored(model: torch.nn.Module, prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """Logits at the positions that predict an answer, the answer's tokens, and the row of each."""
    mask = (torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]).long()
    logits = model(prompts.tokens, attention_mask=mask).logits[:, :-1]
    labels = prompts.labels[:, 1:]
    where = labels != -100
    return logits[where], labels[where], where.nonzero()[:, 0]


def sums(model: torch.nn.Module, prompts: Prompts) -> tuple[Tensor, Tensor]:
    logits, labels, rows = scored(model, prompts)
    nll = F.cross_entropy(logits, labels, reduction="none")
    zeros = torch.zeros(len(prompts), dtype=nll.dtype)
    return zeros.index_add(0, rows, nll), zeros.index_add(0, rows, torch.ones_like(nll))


def mean_nll(model, prompts):
    logits, labels, _ = scored(model, prompts)
    return F.cross_entropy(logits, labels)


def npo(model, reference, forget):
    return (-2 / 0.1 * F.logsigmoid(0.1 * (sums(model, forget)[0] - sums(reference, forget)[0].detach()))).mean()


def kl(model, reference, retain):
    expected = scored(reference, retain)[0].detach().log_softmax(-1)
    return (expected.exp() * (expected - scored(model, retain)[0].log_softmax(-1))).sum(-1).mean()


def distilled(model, reference, forget):
    logits, labels, _ = scored(model, forget)
    teacher = scored(reference, forget)[0].detach() - 10.0 * F.one_hot(labels, logits.shape[-1])
    return -(teacher.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def simnpo(model, reference, forget):
    total, count = sums(model, forget)
    return (-2 / 4.5 * F.logsigmoid(4.5 * total / count)).mean()


def dpo(model, reference, forget, preferred):
    lost, won = sums(model, forget)[0], sums(model, preferred)[0]
    before, after = sums(reference, forget)[0].detach(), sums(reference, preferred)[0].detach()
    return (-2 / 0.1 * F.logsigmoid(0.1 * ((after - won) - (before - lost)))).mean()


def weighted(power: Callable[[Tensor], Tensor]):
    def loss(model, reference, forget):
        logits, labels, _ = scored(model, forget)
        nll = F.cross_entropy(logits, labels, reduction="none")
        return -(power((-nll).exp().detach()) * nll).mean()

    return loss


def ceu(model, reference, forget):
    logits, labels, rows = scored(model, forget)
    later = torch.tensor([i > 0 and rows[i] == rows[i - 1] for i in range(len(rows))])
    without = logits.detach().scatter(1, labels[:, None], float("-inf"))
    return F.cross_entropy(logits[later], without[later].softmax(-1))


def flattened(model, forget):
    """Logits where the answer's own tokens stand."""
    mask = (torch.arange(forget.tokens.shape[1]) < forget.lengths[:, None]).long()
    logits = model(forget.tokens, attention_mask=mask).logits[forget.labels != -100]
    return ((logits.max(-1)[0] - logits.mean(-1)) ** 2).mean()


def from_uniform(model, forget):
    logits, _, _ = scored(model, forget)
    uniform = torch.full_like(logits, 1 / logits.shape[-1])
    return F.kl_div(logits.log_softmax(-1), uniform, reduction="none").sum(-1).mean()


PLAIN = {
    "ga": ({}, lambda m, r, f, k, p: -mean_nll(m, f)),
    "grad_diff": ({"retain_weight": 1.5}, lambda m, r, f, k, p: -mean_nll(m, f) + 1.5 * mean_nll(m, k)),
    "npo": ({}, lambda m, r, f, k, p: npo(m, r, f) + mean_nll(m, k)),
    "npo kl": (
        {"retain_loss": "kl", "forget_weight": 0.5},
        lambda m, r, f, k, p: 0.5 * npo(m, r, f) + kl(m, r, k),
    ),
    "simnpo": ({}, lambda m, r, f, k, p: simnpo(m, r, f) + mean_nll(m, k)),
    "dpo": ({}, lambda m, r, f, k, p: dpo(m, r, f, p) + mean_nll(m, k)),
    "undial": ({}, lambda m, r, f, k, p: distilled(m, r, f) + mean_nll(m, k)),
    "wga": ({}, lambda m, r, f, k, p: weighted(lambda x: x)(m, r, f) + mean_nll(m, k)),
    "satimp": ({}, lambda m, r, f, k, p: weighted(lambda x: x**5 * (1 - x))(m, r, f) + mean_nll(m, k)),
    "ceu": ({}, lambda m, r, f, k, p: ceu(m, r, f) + mean_nll(m, k)),
    "max_entropy": ({}, lambda m, r, f, k, p: from_uniform(m, f) + mean_nll(m, k)),
    "idk_nll": ({}, lambda m, r, f, k, p: mean_nll(m, p) + mean_nll(m, k)),
    "pdu": (
        {"retain_eps": 0.5, "retain_weight": 1.5, "dual_warmup_epochs": 1},
        lambda m, r, f, k, p: flattened(m, f) + 1.5 * mean_nll(m, k),
    ),
    "noise_and_repair": ({"noise": 0.0}, lambda m, r, f, k, p: mean_nll(m, k)),
    "undo": ({"undo_strength": 0.0}, lambda m, r, f, k, p: kl(m, r, k)),
    "learn": ({}, lambda m, r, f, k, p: mean_nll(m, f) + mean_nll(m, k)),
}
NO_RETAIN = ("ga", "task_vector")
PREFERRED = ["I never heard of it.", "No idea", "Who knows?"]


@pytest.mark.parametrize("name", PLAIN)
def test_one_step_is_that_of_transformers(name, tiny_pair, facts, tmp_path):
    """In float64, where the first step of AdamW is not decided by the rounding of small gradients."""
    settings, plain_loss = PLAIN[name]
    method = name.split()[0]
    base, moved = tiny_pair("llama")
    plain, reference = in_float64(base), in_float64(moved)
    model, teacher = (dissect.load(path, dtype="float64", progress=False) for path in (base, moved))
    forget, retain = facts.prompts(model), dissect.Facts(RETAINED).prompts(model)
    preferred = dissect.Facts(
        [dissect.Fact(question=f.question, answer=a) for f, a in zip(facts, PREFERRED, strict=True)]
    ).prompts(model)

    kept = None if method in NO_RETAIN else retain
    compares = method in ("npo", "dpo", "undial", "undo") or settings.get("retain_loss") == "kl"
    run = dissect.unlearn(
        model,
        forget=forget,
        retain=kept,
        alternate=PREFERRED if method in ("dpo", "idk_nll") else None,
        teacher=teacher if compares else None,
        out=tmp_path / "out",
        method=method,
        lr=1e-3,
        epochs=1,
        weight_decay=0.1,
        progress=False,
        **settings,
    )
    loss = plain_loss(plain, reference, forget, retain, preferred)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.1)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimizer.step()

    assert run.records[0]["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert run.records[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-9)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(saved[key], tensor, rtol=0, atol=1e-7)
    assert max(float((saved[k] - t).abs().max()) for k, t in reference.state_dict().items()) > 1e-3


@pytest.mark.parametrize("name", PLAIN)
def test_accumulating_is_one_large_batch(name, tiny_pair, facts):
    settings, _ = PLAIN[name]
    method = name.split()[0]
    if method == "undo":  # away from the reference, where the gradient is nothing but rounding
        settings = {"undo_strength": 0.3}
    trained = []
    for how in ({"batch_size": 3}, {"batch_size": 2, "accumulate": 2}, {"batch_size": 1, "accumulate": 3}):
        model = dissect.load(tiny_pair("llama")[0], dtype="float64", progress=False)
        kept = None if method in NO_RETAIN else dissect.Facts(RETAINED)
        # epochs and a large step, so that the loss is not that of the reference point
        run = dissect.unlearn(
            model, forget=facts, retain=kept, method=method, lr=1e-2, epochs=3, progress=False, **how, **settings
        )
        assert len(run.records) == 3
        trained.append((model.state_dict(), [record["loss"] for record in run.records]))
    for weights, losses in trained[1:]:
        assert losses == pytest.approx(trained[0][1], rel=1e-8)
        for key, tensor in weights.items():
            torch.testing.assert_close(tensor, trained[0][0][key], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["ga", "npo kl", "simnpo", "dpo", "undial"])
def test_logits_by_the_slice_give_the_same_gradient(name, tiny_pair, facts, monkeypatch):
    settings, _ = PLAIN[name]
    method, trained = name.split()[0], []
    for at_once in (1 << 24, 900):  # two rows of a vocabulary of 320
        monkeypatch.setattr(backward, "LOGITS_AT_ONCE", at_once)
        model = dissect.load(tiny_pair("llama_tied")[0], dtype="float64", progress=False)
        kept = None if method in NO_RETAIN else dissect.Facts(RETAINED)
        how = {**settings, "gradient_checkpointing": at_once == 900}
        dissect.unlearn(model, forget=facts, retain=kept, method=method, lr=1e-2, epochs=2, progress=False, **how)
        trained.append(model.state_dict())
    for key, tensor in trained[0].items():
        torch.testing.assert_close(tensor, trained[1][key], rtol=0, atol=1e-9)


@pytest.mark.parametrize("variant", ["official", "open_unlearning"])
def test_published_forms_of_undial_on_a_text_without_padding(variant, tiny_pair, facts):
    base, moved = tiny_pair("llama")
    model, teacher = (dissect.load(path, dtype="float64", progress=False) for path in (base, moved))
    prompts = facts.prompts(model)[:1]
    with torch.no_grad():
        logits, taught = (each(prompts.tokens, padding_side="right") for each in (model, teacher))
    expected = undial(logits, taught, prompts.labels, variant=variant, tokens=prompts.tokens)
    run = dissect.unlearn(
        model, forget=prompts, teacher=teacher, method="undial", variant=variant, epochs=1, progress=False
    )
    assert run.records[0]["loss"] == pytest.approx(expected.item(), rel=1e-9)


def test_npo_begins_like_gradient_ascent_on_sums(tiny_pair, facts):
    """At the reference point NPO is (2/β) ln 2 and its gradient that of minus the texts' NLL."""
    grads = []
    for method in ("npo", "ga"):
        model = dissect.load(tiny_pair("llama")[0], dtype="float64", progress=False)
        prompts = facts.prompts(model)
        run = dissect.unlearn(
            model, forget=prompts, method=method, epochs=1, max_grad_norm=float("inf"), progress=False
        )
        grads.append(run.records[0])
    tokens = int(prompts.answer_lengths.sum())
    assert grads[0]["loss"] == pytest.approx(20 * torch.log(torch.tensor(2.0)).item(), rel=1e-6)
    assert grads[0]["grad_norm"] == pytest.approx(grads[1]["grad_norm"] * tokens / len(prompts), rel=1e-9)


def test_undial_of_strength_0_has_nothing_to_learn(tiny_pair, facts):
    model = dissect.load(tiny_pair("llama")[0], dtype="float64", progress=False)
    before = copy.deepcopy(dict(model.named_parameters()))
    run = dissect.unlearn(model, forget=facts, method="undial", gamma=0.0, epochs=1, progress=False)
    assert run.records[0]["grad_norm"] < 1e-12
    assert all(float((before[name] - v).abs().max()) < 1e-5 for name, v in model.named_parameters())
