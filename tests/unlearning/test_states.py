"""RMU: its loss against float64 by hand, its step against transformers and torch alone, and what it refuses."""

import math

import pytest
import torch
from safetensors.torch import load_file

import dissect
from dissect.errors import DissectError
from dissect.unlearning.losses import rmu, unit_direction
from tests.unlearning.test_training_step import RETAINED, in_float64

FORMS = ("masked", "official", "open_unlearning")
LAYER = 1


def by_loops(states, goal, where, form):
    """The three means, written with loops over numbers in Python."""
    batch, length, width = states.shape
    s = [
        [sum((states[b, t, i] - goal[b, t, i]) ** 2 for i in range(width)) / width for t in range(length)]
        for b in range(batch)
    ]
    if form == "official":
        return sum(sum(row) for row in s) / (batch * length)
    sums = [sum(s[b][t] for t in range(length) if where[b, t]) for b in range(batch)]
    counts = [int(where[b].sum()) for b in range(batch)]
    if form == "masked":
        return sum(total / n for total, n in zip(sums, counts, strict=True)) / batch
    return sum(total / n for total in sums for n in counts) / batch**2


@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradient_by_hand(form):
    generator = torch.Generator().manual_seed(3)
    states, goal = (torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([[-100, -100, 1, 2, 3], [-100, 4, -100, -100, -100], [-100, -100, -100, 5, 6]])
    results = []
    for function in (lambda x: rmu(x, goal, labels, variant=form), lambda x: by_loops(x, goal, labels != -100, form)):
        leaf = states.clone().requires_grad_()
        value = function(leaf)
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_published_mean_of_pairs_differs_only_for_unequal_lengths():
    states = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    equal, unequal = torch.tensor([[-100, -100, 1, 1]] * 2), torch.tensor([[-100, 1, 1, 1], [-100, -100, -100, 1]])
    goal = torch.zeros(3, dtype=torch.float64)
    both = [rmu(states, goal, equal, variant=form) for form in ("masked", "open_unlearning")]
    torch.testing.assert_close(*both)
    assert abs(rmu(states, goal, unequal) - rmu(states, goal, unequal, variant="open_unlearning")) > 1e-3


def states_of(model, prompts):
    """Output of the layer, all positions."""
    kept = []
    handle = model.model.layers[LAYER].register_forward_hook(
        lambda module, args, out: kept.append(out if isinstance(out, torch.Tensor) else out[0])
    )
    mask = (torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]).long()
    model(prompts.tokens, attention_mask=mask)
    handle.remove()
    return kept[0], mask.bool()


def plain_rmu(states, goal, prompts, real, form):
    squared = ((states - goal) ** 2).mean(-1)
    if form == "official":
        return squared[real].mean()
    where = (prompts.labels != -100).double()
    sums, counts = (squared * where).sum(1), where.sum(1)
    return (sums / counts).mean() if form == "masked" else (sums / counts[:, None]).mean()


@pytest.mark.parametrize("adaptive", [0.0, 5.0])
@pytest.mark.parametrize("form", FORMS)
def test_one_step_is_that_of_transformers(form, adaptive, tiny_pair, facts, tmp_path):
    base, moved = tiny_pair("llama")
    plain, reference = in_float64(base), in_float64(moved)
    model, teacher = (dissect.load(path, dtype="float64", progress=False) for path in (base, moved))
    forget, retain = facts.prompts(model), dissect.Facts(RETAINED).prompts(model)
    run = dissect.unlearn(
        model, forget=forget, retain=retain, teacher=teacher, out=tmp_path / "out", method="rmu", variant=form,
        steering_layer=LAYER, steering_coeff=2.0, adaptive=adaptive, retain_weight=1.2, lr=1e-3, epochs=1, seed=4,
        weight_decay=0.1, progress=False,
    )  # fmt: skip
    u = unit_direction(model.cfg.d_model, 4)
    states, real = states_of(plain, forget)
    goal = 2.0 * u
    if adaptive:
        goal = adaptive * states_of(reference, forget)[0].detach().norm(dim=-1, keepdim=True) * u
    loss = plain_rmu(states, goal, forget, real, form)
    states, real = states_of(plain, retain)
    loss = loss + 1.2 * plain_rmu(states, states_of(reference, retain)[0].detach(), retain, real, form)
    trained = [plain.model.layers[layer].mlp.down_proj.weight for layer in range(max(0, LAYER - 2), LAYER + 1)]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    assert run.records[0]["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert run.records[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-9)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(saved[key], tensor, rtol=0, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("extra", [{}, {"adaptive": 5.0, "lora_rank": 2}, {"reference": "live", "adaptive": 5.0}])
def test_accumulating_is_one_large_batch(form, extra, tiny_pair, facts):
    trained = []
    for how in ({"batch_size": 3}, {"batch_size": 1, "accumulate": 3, "gradient_checkpointing": True}):
        model = dissect.load(tiny_pair("llama")[0], dtype="float64", progress=False)
        run = dissect.unlearn(
            model, forget=facts, retain=dissect.Facts(RETAINED), method="rmu", variant=form, steering_layer=LAYER,
            lr=1e-2, epochs=3, progress=False, **how, **extra,
        )  # fmt: skip
        trained.append((model.state_dict(), [record["loss"] for record in run.records]))
    assert trained[1][1] == pytest.approx(trained[0][1], rel=1e-8)
    for key, tensor in trained[1][0].items():
        torch.testing.assert_close(tensor, trained[0][0][key], rtol=0, atol=1e-8)


def test_only_what_stands_before_the_states_changes(tiny_pair, facts):
    """The layers after the steered one keep their weights to the bit, weight decay included."""
    for scope in ({}, {"blocks": ["block", "unembed"]}, {"layers": [0, 1]}):
        model = dissect.load(tiny_pair("llama")[0], progress=False)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        dissect.unlearn(
            model, forget=facts, retain=dissect.Facts(RETAINED), method="rmu", steering_layer=0, lr=1e-2, epochs=2,
            weight_decay=0.1, progress=False, **scope,
        )  # fmt: skip
        changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed and all(name.startswith("blocks.0.") for name in changed)
        assert scope or changed == {"blocks.0.mlp.W_out"}


def test_a_killed_run_ends_with_the_bits_of_an_unbroken_one(tiny_pair, facts, tmp_path):
    def train(out, callbacks=()):
        model = dissect.load(tiny_pair("llama")[0], progress=False)
        dissect.unlearn(
            model, forget=facts, retain=dissect.Facts(RETAINED), method="rmu", adaptive=5.0, lr=1e-2, epochs=4,
            checkpoint_every=1, out=out, callbacks=callbacks, progress=False,
        )  # fmt: skip
        return (out / "model.safetensors").read_bytes()

    def dies(model, record):
        if record["step"] == 3:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", [dies])
    assert train(tmp_path / "broken") == whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steering_layer": 40}, "steering_layer=40: the model has layers 0 to"),
        ({"retain": None}, "method 'rmu' needs retained facts"),
        ({"steering_coeff": -1.0}, "steering_coeff=-1.0: must be 0 or more"),
        ({"steering_coeff": math.nan}, "steering_coeff=nan"),
        ({"adaptive": -5.0}, "adaptive=-5.0: must be 0 or more"),
        ({"variant": "other"}, "variant='other'"),
        ({"steering_layer": 0, "layers": [1]}, "train no parameter"),
        ({"method": "npo", "retain_loss": "states"}, "retain_loss='states'"),
        ({"method": "npo", "steering_layer": 1}, "belongs to method rmu"),
    ],
)
def test_wrong_settings_are_refused_before_training(settings, message, tiny_pair, facts):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    settings = {"method": "rmu", "retain": dissect.Facts(RETAINED), **settings}
    with pytest.raises(DissectError, match=message):
        dissect.unlearn(model, forget=facts, progress=False, **settings)
