"""What trains, and that nothing else moves."""

import json
from functools import partial

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import dissect
from dissect.models.checkpoint import checkpoint_of
from dissect.models.parameters import layer_block_parameters
from tests.support.tiny import FAMILIES

TRAINED = {"method": "undial", "lr": 1e-2, "epochs": 2, "progress": False}


def load(path, dtype="float32"):
    return dissect.load(path, dtype=dtype, progress=False)


def moved(before: dict, model) -> dict[str, torch.Tensor]:
    """Which entries of each parameter changed."""
    return {name: (parameter.detach() != before[name]) for name, parameter in model.named_parameters()}


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"blocks": ["mlp.W_out"], "layers": [1]}, {"blocks.1.mlp.W_out"}),
        ({"blocks": ["embed"]}, {"embed.W_E"}),
        ({"layers": [0, 2], "blocks": "attn.W_O"}, {"blocks.0.attn.W_O", "blocks.2.attn.W_O"}),
        ({"layers": 2, "blocks": "ln"}, {"blocks.2.ln1.w", "blocks.2.ln2.w"}),
    ],
)
def test_only_chosen_blocks_move(settings, names, tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    before, asking = snapshot(model), {n: p.requires_grad for n, p in model.named_parameters()}
    dissect.unlearn(model, forget=facts, weight_decay=0.1, **TRAINED, **settings)
    assert {name for name, entries in moved(before, model).items() if entries.any()} == names
    assert {n: p.requires_grad for n, p in model.named_parameters()} == asking
    assert all(parameter.grad is None for parameter in model.parameters())


def test_everything_is_everything_that_the_checkpoint_has(tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    before = snapshot(model)
    dissect.unlearn(model, forget=facts, weight_decay=0.1, **TRAINED)
    changed = {name for name, entries in moved(before, model).items() if entries.any()}
    assert changed == set(before) - checkpoint_of(model).frozen
    assert checkpoint_of(model).frozen


@pytest.mark.parametrize(
    ("settings", "name", "axis", "members"),
    [
        ({"blocks": ["mlp.W_out"], "layers": [1], "neurons": [3, 7]}, "blocks.1.mlp.W_out", 0, [3, 7]),
        ({"blocks": ["mlp.W_in"], "layers": [1], "neurons": [3]}, "blocks.1.mlp.W_in", 1, [3]),
        ({"blocks": ["attn.W_Q"], "layers": [0], "heads": [2]}, "blocks.0.attn.W_Q", 0, [2]),
    ],
)
def test_slices_move_and_their_neighbours_do_not(settings, name, axis, members, tiny_pair, facts):
    """Weight decay included, which masked gradients would not keep from the others."""
    model = load(tiny_pair("llama")[0])
    before = snapshot(model)
    dissect.unlearn(model, forget=facts, weight_decay=0.5, **TRAINED, **settings)
    changed = moved(before, model)
    assert [key for key, entries in changed.items() if entries.any()] == [name]
    inside = torch.zeros_like(changed[name])
    inside.index_fill_(axis, torch.tensor(members), True)
    assert not changed[name][~inside].any()
    assert changed[name][inside].float().mean() > 0.9


def test_a_slice_takes_the_step_that_the_whole_takes_there(tiny_pair, facts):
    whole, part = (load(tiny_pair("llama")[0], "float64") for _ in range(2))
    how = {**TRAINED, "epochs": 1, "blocks": ["mlp.W_out"], "layers": [1], "max_grad_norm": float("inf")}
    dissect.unlearn(whole, forget=facts, **how)
    dissect.unlearn(part, forget=facts, neurons=[3], **how)
    torch.testing.assert_close(part.blocks[1].mlp.W_out[3], whole.blocks[1].mlp.W_out[3], rtol=0, atol=0)


def test_a_tied_embedding_stays_one_parameter(tiny_pair, facts, tmp_path):
    model = load(tiny_pair("llama_tied")[0])
    dissect.unlearn(model, forget=facts, out=tmp_path / "out", **TRAINED)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert plain.config.tie_word_embeddings
    assert torch.equal(plain.lm_head.weight, model.embed.W_E)
    assert torch.equal(model.unembed.W_U, model.embed.W_E.T)


@pytest.mark.draws
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_those_of_peft(family, tiny_pair, facts, tmp_path):
    """The merged weights, the adapter in peft and the adapter in dissect are one model, fused matrices included."""
    base, _ = tiny_pair(family)
    merged, model = load(base), load(base)
    prompts = facts.prompts(model)
    blocks = ["attn.W_Q", "attn.W_V", "mlp.W_in"]
    how = {**TRAINED, "blocks": blocks, "lora_rank": 3, "lora_alpha": 12.0, "lr": 3e-2}
    dissect.unlearn(merged, forget=prompts, out=tmp_path / "merged", **how)
    dissect.unlearn(model, forget=prompts, out=tmp_path / "adapter", save="adapter", **how)
    assert not (tmp_path / "adapter" / "config.json").exists()

    mask = (torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]).long()
    real = prompts.predicting_mask
    with torch.no_grad():
        read = partial(AutoModelForCausalLM.from_pretrained, attn_implementation="eager")  # soft caps on scores
        expected = read(tmp_path / "merged")(prompts.tokens, attention_mask=mask).logits
        plain = read(base)
        start = plain(prompts.tokens, attention_mask=mask).logits
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter")(prompts.tokens, attention_mask=mask).logits
        again = load(tmp_path / "adapter")(prompts.tokens, padding_side="right")
    assert float((expected - start)[real].abs().max()) > 0.05
    torch.testing.assert_close(adapted[real], expected[real], rtol=0, atol=2e-4)
    torch.testing.assert_close(again[real], expected[real], rtol=0, atol=2e-4)


def test_adapter_gradients_are_those_of_autograd(tiny_pair, facts):
    """One step of plain gradient on A and B, by autograd through W0 + s B A."""
    from dissect.unlearning.parameters.masters import LowRank

    parameter = load(tiny_pair("llama")[0], "float64").blocks[0].attn.W_Q
    master = LowRank("blocks.0.attn.W_Q", parameter, rank=2, alpha=5.0, seed=0)
    a, b = master.factors
    with torch.no_grad():
        b.copy_(torch.randn(b.shape, dtype=b.dtype, generator=torch.Generator().manual_seed(1)))
    before = parameter.detach().clone()
    target = torch.randn(parameter.shape, dtype=parameter.dtype, generator=torch.Generator().manual_seed(2))
    master.push()
    (parameter * target).sin().sum().backward()
    master.pull()
    by_hand = before + 2.5 * torch.einsum("or,ri->io", b, a).unflatten(1, (4, -1)).transpose(0, 1)
    torch.testing.assert_close(parameter.detach(), by_hand.detach())
    expected = torch.autograd.grad((by_hand * target).sin().sum(), (a, b))
    torch.testing.assert_close((a.grad, b.grad), expected)
    master.reset()
    assert torch.equal(parameter, before)


def test_bfloat16_is_stepped_in_float32(tiny_pair, facts, tmp_path):
    """Steps below the spacing of bfloat16 are kept where copies are stepped, and are lost in place."""
    base = tiny_pair("llama")[0]
    how = {"method": "ga", "lr": 1e-5, "epochs": 4, "progress": False}
    shares = {}
    for name, settings in {"copies": {}, "inplace": {"bf16_inplace": True}}.items():
        model = load(base, "bfloat16")
        before = {key: value.float() for key, value in snapshot(model).items()}
        dissect.unlearn(model, forget=facts, out=tmp_path / name, **how, **settings)
        assert next(model.parameters()).dtype == torch.bfloat16
        saved = load(tmp_path / name)
        layers = [(key, p) for key, p in saved.named_parameters() if key.startswith("blocks.") and p.requires_grad]
        entries = [(p.detach() != before[key]).float().flatten() for key, p in layers]
        shares[name] = float(torch.cat(entries).mean())
        dtype = json.loads((tmp_path / name / "config.json").read_text())["dtype"]
        assert dtype == ("float32" if name == "copies" else "bfloat16")
    assert shares["copies"] > 0.9
    assert shares["inplace"] < 0.3


def test_bfloat16_with_float32_masters_is_the_loop_written_by_hand(tiny_pair, facts):
    """To the bit: bfloat16 weights are what float32 copies round to, which alone are stepped."""
    from torch.nn import functional

    from dissect.unlearning.gradient.backward import logits_of, residual_rows
    from dissect.unlearning.gradient.prompt_rows import rows_of

    model, plain = (load(tiny_pair("llama")[0], "bfloat16") for _ in range(2))
    prompts = facts.prompts(model)
    run = dissect.unlearn(
        model, forget=prompts, method="ga", lr=1e-3, epochs=5, batch_size=len(prompts), seed=3, progress=False
    )
    names = [name for name, parameter in plain.named_parameters() if parameter.requires_grad]
    weights = [plain.get_parameter(name) for name in names]
    copies = [weight.detach().float().requires_grad_() for weight in weights]
    optimizer = torch.optim.AdamW(copies, lr=1e-3, weight_decay=0.0, fused=True)
    generator, losses = torch.Generator().manual_seed(3), []
    for _ in range(5):
        rows = rows_of(prompts, torch.randperm(len(prompts), generator=generator).tolist())
        nll = functional.cross_entropy(logits_of(plain, residual_rows(plain, rows)), rows.targets, reduction="none")
        loss = -(nll.double() / len(nll)).sum()
        loss.backward()
        for weight, copy in zip(weights, copies, strict=True):
            copy.grad, weight.grad = torch.empty_like(copy).copy_(weight.grad), None
        torch.nn.utils.clip_grad_norm_(copies, 1.0)
        optimizer.step()
        with torch.no_grad():
            for weight, copy in zip(weights, copies, strict=True):
                weight.copy_(copy)
        losses.append(loss.item())
    assert [record["loss"] for record in run.records] == pytest.approx(losses, rel=1e-12)
    assert losses[-1] < 1.05 * losses[0] < 0
    for name, weight in zip(names, weights, strict=True):
        assert torch.equal(model.get_parameter(name), weight), name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"blocks": ["mlp.W_gat"]}, "did you mean 'mlp.W_gate'"),
        ({"layers": [3]}, "no layer 3"),
        ({"blocks": ["mlp.W_out"], "neurons": [40]}, "no neuron 40"),
        ({"blocks": ["mlp.W_out"], "heads": [0]}, "cannot be cut into heads"),
        ({"blocks": ["embed"], "layers": [0]}, "stands outside the layers"),
        ({"blocks": ["ln"], "lora_rank": 2}, "adapters are put on matrices"),
        ({"lora_rank": 2, "heads": [0]}, "leave heads out"),
        ({"bf16_inplace": True}, "these are float32"),
        ({"heads": [0], "neurons": [1]}, "set one of them, not both"),
        ({"neurons": []}, "must be one or more numbers from 0 on"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, said, tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    before = snapshot(model)
    with pytest.raises(dissect.DissectError, match=said) as caught:
        dissect.unlearn(model, forget=facts, progress=False, **settings)
    assert "\n" not in str(caught.value)
    assert not any(entries.any() for entries in moved(before, model).values())


def test_trained_blocks_are_found_by_their_names(tiny_pair):
    model = load(tiny_pair("phi3")[0])
    from dissect.unlearning.config.train_config import TrainConfig
    from dissect.unlearning.parameters.trainable import trained_names

    found = trained_names(model, TrainConfig(neurons=(1,), layers=(1,)))
    expected = [layer_block_parameters(model, f"mlp.W_{part}", 1)[0] for part in ("in", "gate", "out")]
    assert sorted(found) == sorted(expected)


@pytest.mark.draws
@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "phi3"])
def test_adapters_train_as_in_peft(family, tiny_pair, facts):
    """Several steps of AdamW in float64 from the same A and B; a step is where their order in memory shows."""
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional

    from dissect.models.axes import as_matrix
    from dissect.unlearning.config.train_config import TrainConfig
    from dissect.unlearning.parameters.trainable import masters

    model = load(tiny_pair(family)[0], "float64")
    prompts = facts.prompts(model)
    config = TrainConfig(blocks=("mlp.W_in",), lora_rank=3, lora_alpha=6.0, lr=1e-2, epochs=4, method="ga")
    modules = {"llama": "up_proj", "gpt2": "c_fc", "neox": "dense_h_to_4h", "phi3": None}[family]
    starts = {master.name: master.factors[0].detach().clone() for master in masters(model, config)}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run = dissect.unlearn(model, forget=prompts, config=config, progress=False)
    if modules is None:  # fused there: by autograd through W0 + s B A instead
        plain = load(tiny_pair(family)[0], "float64")
        factors = {name: (a.clone().requires_grad_(), torch.zeros(0)) for name, a in starts.items()}
        factors = {
            name: (a, torch.zeros(as_matrix(name, before[name]).shape[1], 3, dtype=a.dtype, requires_grad=True))
            for name, (a, _) in factors.items()
        }
        leaves = [leaf for pair in factors.values() for leaf in pair]
    else:
        whole = AutoModelForCausalLM.from_pretrained(tiny_pair(family)[0], dtype=torch.float64)
        settings = LoraConfig(r=3, lora_alpha=6.0, target_modules=[modules], fan_in_fan_out=family == "gpt2")
        plain = get_peft_model(whole, settings, autocast_adapter_dtype=False).eval()
        with torch.no_grad():
            found = [p for name, p in plain.named_parameters() if "lora_A" in name]
            for parameter, start in zip(found, starts.values(), strict=True):
                parameter.copy_(start)
        leaves = [p for name, p in plain.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(leaves, lr=1e-2, weight_decay=0.0)
    losses = []
    mask = (torch.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]).long()
    for _ in range(4):
        if modules is None:
            values = {n: before[n] + 2.0 * (b @ a).T for n, (a, b) in factors.items()}
            logits = torch.func.functional_call(plain, values, (prompts.tokens,), {"padding_side": "right"})
        else:
            logits = plain(prompts.tokens, attention_mask=mask).logits
        labels = prompts.labels[:, 1:]
        loss = -functional.cross_entropy(logits[:, :-1][labels != -100], labels[labels != -100])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(leaves, 1.0)
        optimizer.step()
        losses.append(loss.item())
    # transformers takes norms and angles in float32
    assert [record["loss"] for record in run.records] == pytest.approx(losses, rel=1e-6)
    assert losses[-1] < 1.02 * losses[0] < 0


def test_gradients_of_others_do_not_enter(tiny_pair, facts):
    for settings in ({}, {"lora_rank": 2}, {"blocks": ["mlp.W_out"], "neurons": [1]}):
        norms = []
        for disturbed in (False, True):
            model = load(tiny_pair("llama")[0])

            def disturb(trained, record):
                with torch.enable_grad():
                    trained(torch.tensor([[0, 5, 7]])).square().sum().backward()

            if disturbed:
                disturb(model, {})
            run = dissect.unlearn(
                model, forget=facts, epochs=3, progress=False, callbacks=[disturb] if disturbed else [], **settings
            )
            norms.append([record["grad_norm"] for record in run.records])
        assert norms[0] == norms[1]


def test_the_fingerprint_tells_steps_apart(tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    seen = []
    dissect.unlearn(
        model,
        forget=facts,
        epochs=2,
        callbacks=[lambda trained, record: seen.append(checkpoint_of(trained).fingerprint)],
        progress=False,
    )
    assert len(set(seen)) == 3
    assert seen[0] == checkpoint_of(load(tiny_pair("llama")[0])).fingerprint
    assert seen[2] == checkpoint_of(model).fingerprint
    assert not checkpoint_of(model).on_disk
