"""First-order attribution against the exact sweep: equal where the network is linear, near where models are near."""

import numpy as np
import pytest
import torch

import dissect
from dissect.data.facts import Fact, Facts
from dissect.metrics.metric import Metric, Scored
from dissect.patching.attribute import attribute
from dissect.patching.attribution_result import AttributionResult
from dissect.patching.gradients import frozen
from dissect.patching.sites import SITES, available
from tests.support.tiny import FAMILIES

FACTS = Facts(
    [
        Fact(question="Where was Ada Lovelace born?", answer="In London, by the sea.", extra={"foil": "In Paris"}),
        Fact(question="What is the profession of Basil?", answer="a baker", extra={"perturbed": ["a painter"]}),
        Fact(question="Who likes to swim?", answer="Lily"),
    ]
)
NEAR = 1e-3


def margin(scored: Scored) -> torch.Tensor:
    """Linear in the logits: the answer's against that of token 7."""
    return scored.logits.gather(-1, scored.targets[:, None])[:, 0] - scored.logits[:, 7]


MARGIN = Metric(name="margin", label="margin over token 7", score=margin, better="higher", needs_targets=True)


def load(tiny_pair, architecture: str, *, dtype: str = "float64", apart: float = 1.0) -> dissect.ModelPair:
    """``apart``: how much of the difference between the two models is left."""
    pair = dissect.load_pair(*tiny_pair(architecture), dtype=dtype, progress=False)
    theirs = dict(pair.unlearned.named_parameters())
    for name, parameter in pair.base.named_parameters():
        theirs[name].data.lerp_(parameter.data, 1 - apart)
    return pair


def changes(result: dissect.SweepResult, metric: str) -> np.ndarray:
    """m(patched) - m(recipient), with the prompt last."""
    values = result.values(metric)
    return (values - result.data[f"{metric}_recipient"]).transpose(*values.dims).values


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "gemma2_untied"])
def test_exact_where_the_rest_is_linear(architecture, tiny_pair):
    """Without final norm and cap the logits are linear in all that the last layer adds to the stream."""
    pair = load(tiny_pair, architecture, dtype="float32")
    for model in (pair.base, pair.unlearned):
        model.ln_final = torch.nn.Identity()
        model.cfg.output_logits_soft_cap = -1.0
    prompts = FACTS.prompts(pair.tokenizer)
    sites = ["mlp_out", "resid_post"]
    if architecture != "gemma2_untied":
        sites.append("mlp_post")  # there a norm stands behind it
    if architecture == "neox":
        sites += ["attn_out", "z"]  # parallel: the MLP does not read them
    estimate = attribute(pair, prompts, sites, metrics=MARGIN, layers=[2], progress=False)
    exact = dissect.patch(pair, prompts, sites, metrics=[MARGIN], window=1, layers=[2], progress=False)
    assert np.abs(changes(exact, "margin")).min() > 1e-3
    np.testing.assert_allclose(changes(estimate, "margin"), changes(exact, "margin"), atol=1e-5)
    np.testing.assert_allclose(estimate.recovery("margin"), exact.recovery("margin"), atol=1e-4)


@pytest.mark.parametrize("architecture", [*FAMILIES, "neox_sequential"])
def test_near_models_are_estimated_at_every_site(architecture, tiny_pair):
    pair = load(tiny_pair, architecture, apart=NEAR)
    prompts = FACTS.prompts(pair.tokenizer)
    sites = available(pair.base)
    assert set(SITES) - set(sites) == ({"resid_mid"} if pair.base.cfg.parallel_attn_mlp else set())
    estimate = attribute(pair, prompts, sites, metrics="logprob", progress=False)
    exact = dissect.patch(pair, prompts, sites, metrics=["logprob"], window=1, progress=False)
    ours, theirs = changes(estimate, "logprob"), changes(exact, "logprob")
    assert estimate.values("logprob").dims == exact.values("logprob").dims
    for row, site in enumerate(sites):
        size = np.abs(theirs[row]).max()
        assert size > 0
        assert np.abs(ours[row] - theirs[row]).max() < 20 * NEAR * size, site
    for end in ("logprob_recipient", "logprob_donor"):
        np.testing.assert_allclose(estimate.data[end], exact.data[end], atol=1e-12)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_the_error_is_of_second_order(architecture, tiny_pair):
    errors = []
    for apart in (1e-2, 1e-3):
        pair = load(tiny_pair, architecture, apart=apart)
        prompts = FACTS.prompts(pair.tokenizer)
        estimate = attribute(pair, prompts, ["mlp_post", "z"], metrics="kl", progress=False)
        exact = dissect.patch(pair, prompts, ["mlp_post", "z"], metrics=["kl"], window=1, progress=False)
        # KL to the donor is itself of second order, so its first-order part is, and what is left out as well
        errors.append(np.abs(changes(estimate, "kl") - changes(exact, "kl")).max())
    assert errors[1] < errors[0] / 50


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "olmo2", "qwen3"])
@pytest.mark.parametrize("site", ["z", "q", "k", "v", "pattern"])
def test_heads_are_those_of_the_exact_sweep(architecture, site, tiny_pair):
    pair = load(tiny_pair, architecture, apart=NEAR)
    prompts = FACTS.prompts(pair.tokenizer)
    estimate = attribute(pair, prompts, [site], metrics="logprob", per="head", progress=False)
    exact = dissect.patch(
        pair, prompts, [site], heads="each", metrics=["logprob"], window=1, positions="all", progress=False
    )
    assert estimate.values("logprob").dims == exact.values("logprob").dims
    n_heads = pair.base.cfg.n_key_value_heads if site in ("k", "v") else None
    assert estimate.data.sizes["head"] == (n_heads or pair.base.cfg.n_heads)
    ours, theirs = changes(estimate, "logprob"), changes(exact, "logprob")
    assert np.abs(ours - theirs).max() < 20 * NEAR * np.abs(theirs).max()
    whole = attribute(pair, prompts, [site], metrics="logprob", progress=False)
    np.testing.assert_allclose(ours.sum(2), changes(whole, "logprob"), atol=1e-12)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_positions_and_neurons_are_those_of_the_exact_sweep(architecture, tiny_pair):
    pair = load(tiny_pair, architecture, apart=NEAR)
    prompts = FACTS.prompts(pair.tokenizer)
    sites = ["mlp_post", "resid_pre", "pattern"]
    estimate = attribute(pair, prompts, sites, metrics="logprob", per="position", layers=[1], progress=False)
    exact = dissect.patch(
        pair, prompts, sites, positions="each", metrics=["logprob"], window=1, layers=[1], progress=False
    )
    assert estimate.data["position"].equals(exact.data["position"])
    ours, theirs = changes(estimate, "logprob"), changes(exact, "logprob")
    assert (np.isnan(ours) == np.isnan(theirs)).all()
    assert np.isnan(ours).any(), "the prompts are of different lengths"
    assert np.nanmax(np.abs(ours - theirs)) < 20 * NEAR * np.nanmax(np.abs(theirs))
    whole = attribute(pair, prompts, sites, metrics="logprob", layers=[1], progress=False)
    np.testing.assert_allclose(np.nansum(ours, axis=2), changes(whole, "logprob"), atol=1e-12)

    estimate = attribute(pair, prompts, ["mlp_post"], metrics="logprob", per="neuron", progress=False)
    some = [0, 7, pair.base.cfg.d_mlp - 1]
    exact = dissect.patch(pair, prompts, ["mlp_post"], neurons=some, metrics=["logprob"], window=1, progress=False)
    assert estimate.data.sizes["neurons"] == pair.base.cfg.d_mlp
    chosen = AttributionResult(estimate.data.sel(neurons=some))
    ours, theirs = changes(chosen, "logprob"), changes(exact, "logprob")
    assert np.abs(ours - theirs).max() < 20 * NEAR * np.abs(theirs).max()
    whole = attribute(pair, prompts, ["mlp_post"], metrics="logprob", progress=False)
    np.testing.assert_allclose(changes(estimate, "logprob").sum(2), changes(whole, "logprob"), atol=1e-12)


def test_a_window_is_the_sum_of_its_members(tiny_pair):
    pair = load(tiny_pair, "llama")
    prompts = FACTS.prompts(pair.tokenizer)
    for per in (None, "position"):
        single = attribute(pair, prompts, ["mlp_post"], per=per, progress=False)
        single_change = changes(single, "krs")
        wide = attribute(pair, prompts, ["mlp_post"], per=per, window=3, layers=[2, 0, 1], progress=False)
        assert wide.data["layer"].values.tolist() == [0, 1, 2]
        assert wide.data["members"].values[0].tolist() == ["0,1", "0,1,2", "1,2"]
        for layer, members in enumerate(([0, 1], [0, 1, 2], [1, 2])):
            np.testing.assert_allclose(changes(wide, "krs")[0, layer], single_change[0, members].sum(0), atol=1e-12)
    sets = attribute(pair, prompts, ["mlp_post"], layers=[[0, 2], [1]], progress=False)
    single_change = changes(attribute(pair, prompts, ["mlp_post"], progress=False), "krs")
    np.testing.assert_allclose(changes(sets, "krs")[0, 0], single_change[0, [0, 2]].sum(0), atol=1e-12)
    both = attribute(pair, prompts, [("mlp_post", "attn_out"), "mlp_post", "attn_out"], progress=False)
    joint, *parts = changes(both, "krs")
    np.testing.assert_allclose(joint, sum(parts), atol=1e-12)


@pytest.mark.parametrize("component", ["mlp_post", "attn_out", "z", "k", "pattern", ("mlp_post", "attn_out")])
@pytest.mark.parametrize("architecture", ["llama", "neox"])
def test_integrated_gradients_are_complete(architecture, component, tiny_pair):
    """Over layers they add up to the exact patch of all layers at once, better and better with more steps."""
    pair = load(tiny_pair, architecture)
    prompts = FACTS.prompts(pair.tokenizer)
    layers = list(range(pair.base.cfg.n_layers))
    exact = dissect.patch(pair, prompts, [component], metrics=["krs"], layers=[layers], window=1, progress=False)
    target = changes(exact, "krs")[0, 0]
    errors = []
    for steps in (4, 16):
        estimate = attribute(pair, prompts, [component], ig_steps=steps, progress=False)
        errors.append(np.abs(changes(estimate, "krs")[0].sum(0) - target).max())
    assert errors[1] < 1e-3 * np.abs(target).max()
    assert errors[1] < errors[0] / 8, "the middles of equal steps: the error falls with their square"


def test_integrated_gradients_of_one_layer_of_the_stream(tiny_pair):
    pair = load(tiny_pair, "gpt2")
    prompts = FACTS.prompts(pair.tokenizer)
    exact = dissect.patch(pair, prompts, ["resid_pre"], metrics=["kl"], window=1, layers=[1], progress=False)
    estimate = attribute(pair, prompts, ["resid_pre"], metrics="kl", layers=[1], ig_steps=32, progress=False)
    np.testing.assert_allclose(changes(estimate, "kl"), changes(exact, "kl"), atol=2e-4)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-13), ("float32", 1e-5)])
def test_batching_and_padding_change_nothing(dtype, limit, tiny_pair):
    pair = load(tiny_pair, "llama", dtype=dtype)
    prompts = FACTS.prompts(pair.tokenizer)
    sites = ["mlp_post", "z", "resid_post"]
    together = attribute(pair, prompts, sites, progress=False)
    alone = attribute(pair, prompts, sites, batch_size=1, progress=False)
    np.testing.assert_allclose(together.values("krs"), alone.values("krs"), atol=limit)


def test_a_model_with_itself_has_nothing_to_attribute(tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    pair = dissect.ModelPair(model, model)
    result = attribute(
        pair, FACTS.prompts(pair.tokenizer), ["mlp_post", "z", "k"], metrics="logprob", check=3, progress=False
    )
    assert np.abs(changes(result, "logprob")).max() == 0.0
    assert np.isnan(result.recovery("logprob")).all()
    assert np.isnan(result.agreement)


def test_the_models_are_left_as_they_were(tiny_pair):
    pair = load(tiny_pair, "gpt2", dtype="float32")
    pair.base.requires_grad_(False)
    asked = {name: p.requires_grad for name, p in pair.unlearned.named_parameters()}
    assert any(asked.values())
    assert not all(asked.values()), "biases that the checkpoint does not have"
    attribute(pair, FACTS.prompts(pair.tokenizer), progress=False, check=2)

    def same() -> bool:
        return {name: p.requires_grad for name, p in pair.unlearned.named_parameters()} == asked

    assert same()
    assert not any(p.requires_grad for p in pair.base.parameters())
    assert all(p.grad is None for p in pair.unlearned.parameters())
    assert not any(hook.fwd_hooks or hook.bwd_hooks for hook in pair.unlearned.hook_dict.values())
    with pytest.raises(KeyboardInterrupt), frozen(pair.unlearned):
        assert not any(p.requires_grad for p in pair.unlearned.parameters())
        raise KeyboardInterrupt
    assert same()


def test_the_check_patches_cells_exactly(tiny_pair, tmp_path):
    pair = load(tiny_pair, "llama")
    prompts = FACTS.prompts(pair.tokenizer)
    result = attribute(pair, prompts, ["z", "q"], per="head", metrics="logprob", window=3, check=7, progress=False)
    assert result.n_checked == 7
    assert -1 <= result.agreement <= 1
    exact = dissect.patch(pair, prompts, ["z", "q"], heads="each", metrics=["logprob"], window=3, progress=False)
    means = (exact.values("logprob") - exact.data["logprob_recipient"]).mean("prompt")
    ours = (result.values("logprob") - result.data["logprob_recipient"]).mean("prompt")
    for row in result.checked.itertuples():
        at = {"component": row.component, "layer": row.layer, "head": row.head}
        assert row.exact == pytest.approx(float(means.sel(at)), abs=1e-10)
        assert row.estimate == pytest.approx(float(ours.sel(at)), abs=1e-10)
    ranks = result.checked[["estimate", "exact"]].rank()
    assert result.agreement == pytest.approx(float(np.corrcoef(ranks["estimate"], ranks["exact"])[0, 1]))
    again = attribute(pair, prompts, ["z", "q"], per="head", metrics="logprob", window=3, check=7, progress=False)
    assert again.data.attrs["checked"] == result.data.attrs["checked"]
    other = attribute(
        pair, prompts, ["z", "q"], per="head", metrics="logprob", window=3, check=7, seed=1, progress=False
    )
    assert not other.checked.drop(columns=["estimate", "exact"]).equals(
        result.checked.drop(columns=["estimate", "exact"])
    )
    result.save(tmp_path / "a.nc")
    loaded = AttributionResult.load(tmp_path / "a.nc")
    assert loaded.agreement == result.agreement
    assert "rank agreement with exact patches" in repr(loaded)
    assert "over 7 cells" in repr(loaded)
    assert loaded.spec["kind"] == "attribution"
    assert dissect.SweepResult.load(tmp_path / "a.nc").data.equals(result.data)


@pytest.mark.parametrize(("per", "site"), [("position", "mlp_out"), ("neuron", "mlp_post"), (None, "resid_mid")])
def test_the_check_knows_every_dimension(per, site, tiny_pair):
    pair = load(tiny_pair, "llama", apart=NEAR)
    prompts = FACTS.prompts(pair.tokenizer)
    result = attribute(
        pair, prompts, [site], per=per, metrics="logprob", check=1000 if per is None else 12, progress=False
    )
    assert result.n_checked == (3 if per is None else 12)
    assert result.agreement > 0.9
    assert "not checked" in repr(attribute(pair, prompts, [site], progress=False))


def test_prompts_without_a_foil_are_undefined(tiny_pair):
    pair = load(tiny_pair, "llama")
    prompts = FACTS.prompts(pair.tokenizer)
    result = attribute(pair, prompts, ["mlp_post"], metrics="logit_diff", progress=False)
    assert np.isnan(result.values("logit_diff").values).tolist() == [[[False, False, True]] * 3]
    alone = attribute(pair, prompts[:2], ["mlp_post"], metrics="logit_diff", progress=False)
    np.testing.assert_allclose(result.values("logit_diff")[..., :2], alone.values("logit_diff"), atol=1e-12)
    foil = pair.tokenizer(prompts.prompt_texts[0] + " In Paris")["input_ids"]
    at = next(t for t in prompts.answer_mask[0].nonzero()[:, 0].tolist() if prompts.tokens[0, t] != foil[t])
    with torch.no_grad():
        logits = pair.base(prompts.tokens[:1], padding_side="right")[0, at - 1]
    expected = float(logits[prompts.tokens[0, at]] - logits[foil[at]])
    assert float(result.data["logit_diff_donor"][0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_keeps_the_picture(dtype, tiny_pair):
    full, low = (load(tiny_pair, "llama", dtype=kind) for kind in ("float32", dtype))
    sites = ["mlp_post", "attn_out", "z", "resid_pre"]
    ours, theirs = (
        changes(attribute(pair, FACTS.prompts(pair.tokenizer), sites, progress=False), "krs") for pair in (low, full)
    )
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"components": ["mlp_poost"]}, "no activation site 'mlp_poost'"),
        ({"components": []}, "nothing to sweep"),
        ({"metrics": "rouge"}, "no metric 'rouge'"),
        ({"metrics": "rank"}, "metric 'rank' has no gradient: attribute with kl, krs, logit_diff, logprob, prob"),
        ({"metrics": "exact"}, "has no gradient"),
        ({"per": "token"}, "per='token': choose from head, neuron, position"),
        ({"per": "head"}, "'mlp_post' has no heads"),
        ({"per": "neuron", "components": ["z"]}, "neurons are entries of mlp_post"),
        ({"per": "head", "components": ["q", "k"]}, "different numbers of heads"),
        ({"window": 2}, "odd number"),
        ({"layers": [3]}, "no layer 3"),
        ({"ig_steps": -1}, "ig_steps=-1"),
        ({"ig_steps": 4, "components": ["resid_post"]}, "ask for one layer at a time"),
        ({"check": 1}, "check=1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"donor": "retrained"}, "no retrained model"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said, tiny_pair):
    pair = load(tiny_pair, "llama")
    with pytest.raises(dissect.DissectError, match=said) as caught:
        attribute(pair, FACTS.prompts(pair.tokenizer), progress=False, **asked)
    assert "\n" not in str(caught.value)


def test_no_foil_at_all_is_refused(tiny_pair):
    pair = load(tiny_pair, "llama")
    with pytest.raises(dissect.DissectError, match="no prompt has one"):
        attribute(pair, FACTS[2:].prompts(pair.tokenizer), metrics="logit_diff", progress=False)
