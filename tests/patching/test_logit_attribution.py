"""The drop of the answer's logit and its parts: they add up, and each is what it says."""

import numpy as np
import pytest
import torch

import dissect
from dissect.data.facts import Fact, Facts
from dissect.patching.logit_attribution import logit_attribution
from dissect.patching.logit_result import LogitAttribution
from tests.support.tiny import FAMILIES

FACTS = Facts(
    [
        Fact(question="Where was Ada Lovelace born?", answer="In London, by the sea.", extra={"foil": "In Paris"}),
        Fact(question="What is the profession of Basil?", answer="a baker", extra={"perturbed": ["a painter"]}),
        Fact(question="Who likes to swim?", answer="Lily"),
    ]
)


def load(tiny_pair, architecture: str, dtype: str = "float64") -> dissect.ModelPair:
    pair = dissect.load_pair(*tiny_pair(architecture), dtype=dtype, progress=False)
    give_constants_values(pair)
    return pair


def give_constants_values(pair: dissect.ModelPair) -> None:
    """Biases and norms that this architecture leaves at 0 and 1 get values, so that none can be forgotten."""
    for seed, model in enumerate((pair.base, pair.unlearned)):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if not parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.data += 0.1 * noise.to(parameter.dtype)


def uncapped(model: torch.nn.Module, prompts: dissect.Prompts) -> torch.Tensor:
    """Logits before the soft cap, by the model's own forward."""
    cap, model.cfg.output_logits_soft_cap = model.cfg.output_logits_soft_cap, -1.0
    try:
        with torch.no_grad():
            return model(prompts.tokens, padding_side="right").double()
    finally:
        model.cfg.output_logits_soft_cap = cap


def answer_logits(model: torch.nn.Module, prompts: dissect.Prompts) -> list[float]:
    logits = uncapped(model, prompts)
    rows = []
    for row, mask in enumerate(prompts.answer_mask):
        at = mask.nonzero()[:, 0]
        rows.append(float(logits[row, at - 1, prompts.tokens[row, at]].mean()))
    return rows


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-9), ("float32", 1e-4)])
@pytest.mark.parametrize("architecture", [*FAMILIES, "gpt2_untied", "neox_sequential", "gemma2_untied"])
def test_the_parts_add_up_to_the_drop(architecture, dtype, within, tiny_pair):
    pair = load(tiny_pair, architecture, dtype)
    prompts = FACTS.prompts(pair.tokenizer)
    result = logit_attribution(pair, prompts, batch_size=2, progress=False)
    before, after = (np.array(answer_logits(model, prompts)) for model in (pair.base, pair.unlearned))
    np.testing.assert_allclose(result.total, before - after, atol=within, rtol=0)
    np.testing.assert_allclose(result.parts().sum("part"), before - after, atol=within, rtol=0)
    assert float(np.abs(result.remainder()).max()) < within
    cfg = pair.base.cfg
    assert result.data["heads"].shape == (cfg.n_layers, cfg.n_heads, len(prompts))
    assert ("pos_embed" in result.data) == (architecture in ("gpt2", "gpt2_untied", "gpt_neo", "opt"))
    rest = [name for name in ("norm_scale", "unembed", "embed", "heads", "mlp") if not result.data[name].any()]
    assert not rest, "these two models differ everywhere"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "olmo2", "gemma2"])
def test_a_head_is_the_drop_that_its_output_makes(architecture, tiny_pair):
    """Independent: take a head's output away from the stream of both models, with all scales as they were."""
    pair = load(tiny_pair, architecture)
    prompts = FACTS.prompts(pair.tokenizer)[:1]
    result = logit_attribution(pair, prompts, progress=False)
    layer, head = 1, 2
    frozen = {"norm": [], "direction": []}
    ways = []
    for model in (pair.base, pair.unlearned):
        model.requires_grad_(False)
        _, cache = model.run_with_cache(prompts.tokens, padding_side="right")
        out = cache[f"blocks.{layer}.attn.hook_z"][:, :, head] @ model.blocks[layer].attn.W_O[head]
        name = "ln1_post" if architecture == "gemma2" else "ln1" if architecture == "olmo2" else None
        if name is not None:
            weight = getattr(model.blocks[layer], name).w + (1 if architecture == "gemma2" else 0)
            out = out / cache[f"blocks.{layer}.{name}.hook_scale"] * weight
        if architecture == "gpt2":
            out = out - out.mean(-1, keepdim=True)
        ways.append(out[0])
        frozen["norm"].append(1 / cache["ln_final.hook_scale"][0])
        gain = model.ln_final.w + (1 if architecture == "gemma2" else 0)
        frozen["direction"].append((gain[:, None] * model.unembed.W_U).T[prompts.tokens[0, 1:]])
    sigma, direction = (sum(frozen[key]) / 2 for key in ("norm", "direction"))
    drop = sigma[:-1, 0] * (direction * (ways[0] - ways[1])[:-1]).sum(-1)
    expected = float(drop[prompts.answer_mask[0, 1:]].mean())
    assert float(result.data["heads"][layer, head, 0]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "gemma2_untied"])
def test_only_what_differs_contributes(architecture, tiny_pair):
    """Everything but one part is made equal; then only what can move is not 0."""
    for changed, moving in (
        ("blocks.2.mlp.W_out", {"mlp 2", "norm_scale"}),
        ("blocks.2.attn.W_O", {f"head 2.{head}" for head in range(4)} | {"mlp 2", "norm_scale"}),
        ("unembed.W_U", {"unembed"}),
        ("ln_final.w", {"ln_final"}),
    ):
        pair = load(tiny_pair, architecture)
        ours, theirs = dict(pair.base.named_parameters()), dict(pair.unlearned.named_parameters())
        if changed not in ours:
            continue  # tied: there is no matrix of its own
        for name, parameter in ours.items():
            if name != changed:
                theirs[name].data.copy_(parameter.data)
        mean = logit_attribution(pair, FACTS.prompts(pair.tokenizer), progress=False).parts().mean("prompt")
        moved = {str(part) for part, value in zip(mean["part"].values, mean.values, strict=True) if abs(value) > 1e-12}
        if architecture == "gemma2_untied":  # the bias too goes through the norm behind attention, whose scale moved
            moving = moving | {"attn_bias 2"}
        assert moved - moving == set(), changed
        assert moved & moving, changed


def test_other_references_for_the_logit(tiny_pair):
    pair = load(tiny_pair, "gemma2")
    prompts = FACTS.prompts(pair.tokenizer)
    logits = [uncapped(model, prompts) for model in (pair.base, pair.unlearned)]
    for baseline in ("mean", "foil"):
        result = logit_attribution(pair, prompts, baseline=baseline, batch_size=2, progress=False)
        for row in range(2):
            at = prompts.answer_mask[row].nonzero()[:, 0]
            if baseline == "mean":
                margins = [z[row, at - 1, prompts.tokens[row, at]] - z[row, at - 1].mean(-1) for z in logits]
            else:
                text = prompts.prompt_texts[row] + (" In Paris" if row == 0 else " a painter")
                foil = pair.tokenizer(text)["input_ids"]
                here = next(int(t) for t in at if prompts.tokens[row, t] != foil[t])
                margins = [z[row, here - 1, prompts.tokens[row, here]] - z[row, here - 1, foil[here]] for z in logits]
            assert float(result.total[row]) == pytest.approx(float((margins[0] - margins[1]).mean()), abs=1e-9)
        assert float(np.abs(result.remainder()[:2]).max()) < 1e-9
        assert np.isnan(result.total[2]) == (baseline == "foil")
        assert np.isnan(result.parts()[:, 2]).all() == (baseline == "foil")


def test_the_two_directions_are_opposite(tiny_pair):
    pair = load(tiny_pair, "llama")
    prompts = FACTS.prompts(pair.tokenizer)
    there = logit_attribution(pair, prompts, progress=False).parts()
    back = logit_attribution(pair, prompts, donor="unlearned", recipient="base", progress=False).parts()
    np.testing.assert_allclose(there, -back, atol=1e-12)


def test_a_result_is_saved_shown_and_tabled(tiny_pair, tmp_path):
    pair = load(tiny_pair, "llama")
    prompts = FACTS.prompts(pair.tokenizer)
    result = logit_attribution(pair, prompts, progress=False)
    result.save(tmp_path / "drop.nc")
    again = LogitAttribution.load(tmp_path / "drop.nc")
    assert again.data.identical(result.data)
    table = again.to_dataframe()
    assert len(table) == result.parts().size
    assert set(table.columns) >= {"part", "kind", "layer", "head", "prompt", "drop"}
    top = again.top(3)
    assert list(top["drop"].abs()) == sorted(top["drop"].abs(), reverse=True)
    whole = again.parts().mean("prompt").to_series()
    assert top["drop"].iloc[0] == pytest.approx(float(whole[whole.abs().idxmax()]))
    layers = again.by_layer()
    np.testing.assert_allclose(layers["attn"], again.data["heads"].sum("head") + again.data["attn_bias"])
    assert "drops by" in repr(again)
    assert "<table>" in again._repr_html_()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"donor": "teacher"}, "no model 'teacher'"),
        ({"recipient": "retrained"}, "no retrained model"),
        ({"baseline": "everything"}, "baseline='everything'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said, tiny_pair):
    pair = load(tiny_pair, "llama")
    with pytest.raises(dissect.DissectError, match=said):
        logit_attribution(pair, FACTS.prompts(pair.tokenizer), progress=False, **asked)


def test_no_foils_are_refused(tiny_pair):
    pair = load(tiny_pair, "llama")
    with pytest.raises(dissect.DissectError, match="no prompt has one"):
        logit_attribution(pair, FACTS[2:].prompts(pair.tokenizer), baseline="foil", progress=False)
