"""Sites, positions, heads, neurons and controls: each against its definition."""

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer

import dissect
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.models.running.forward import final_residual, read_out
from dissect.patching.activation_swap import ActivationSwap
from dissect.patching.sites import available, hook_name
from dissect.restoration.parameter_swap import Parameters, ParameterSwap
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell
from dissect.sweep.intervention import Joint
from dissect.sweep.sweep import Options, sweep
from tests.support import depth
from tests.support.tiny import FAMILIES, make_checkpoint


def patched_by_hand(pair: dissect.ModelPair, prompts: Prompts, names: list[str], overwrite) -> torch.Tensor:
    """Recovery of every prompt, by TransformerLens's own hooks and full passes; ``overwrite(own, donor)`` in place."""
    _, cache = pair.base.run_with_cache(prompts.tokens, names_filter=names, padding_side="right")

    def hook(own, hook):
        own = own.clone()
        overwrite(own, cache[hook.name])
        return own

    def loss(model: HookedTransformer, hooks: list) -> torch.Tensor:
        with torch.no_grad(), model.hooks(fwd_hooks=hooks):
            logits = read_out(model, final_residual(model, prompts.tokens))
            target = read_out(pair.base, final_residual(pair.base, prompts.tokens))
        squares = (logits - target).pow(2).mean(-1)
        where = prompts.predicting_mask
        return torch.stack([squares[i][where[i]].mean() for i in range(len(prompts))]).double()

    return 1 - loss(pair.unlearned, [(name, hook) for name in names]) / loss(pair.unlearned, [])


@pytest.fixture
def llama(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    return pair, facts.prompts(pair.tokenizer)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_identity_is_exactly_zero_at_every_site_and_layer(architecture, tiny_pair, facts):
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    pair = dissect.ModelPair(model, model)
    sites = available(model)
    assert len(sites) == (10 if model.cfg.parallel_attn_mlp else 11)
    for positions in ("all", "last_prompt"):
        result = dissect.patch(pair, facts.prompts(model), sites, window=1, positions=positions, progress=False)
        assert np.abs(result.values("krs").values).max() == 0.0


@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_last_residual_stream_with_final_norm_and_unembedding_is_the_base_model(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    prompts, source = facts.prompts(pair.tokenizer), Donor(pair.base)
    last = pair.base.cfg.n_layers - 1
    outside = tuple(n for n, _ in pair.base.named_parameters() if n.startswith(("ln_final.", "unembed.", "embed.")))
    swaps = Joint((ActivationSwap(source, ("resid_post",), (last,)), ParameterSwap(Parameters(pair.base), outside)))
    nothing = ParameterSwap(Parameters(pair.unlearned), ())
    cells = [
        Cell("everything", last, (last,), intervention=swaps),
        Cell("nothing", last, (last,), intervention=nothing),
    ]
    recovery = sweep(pair, pair.unlearned, source, prompts, cells, Options(progress=False), spec={}).recovery()
    assert (recovery.sel(component="everything").values == 1.0).all()
    assert (recovery.sel(component="nothing").values == 0.0).all()


@pytest.mark.parametrize("architecture", ["llama", "neox", "gemma2", "olmo2"])
def test_every_site_equals_hooks_by_hand(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    prompts, sites = facts.prompts(pair.tokenizer), available(pair.base)
    result = dissect.patch(pair, prompts, sites, window=3, progress=False).recovery()
    for site in sites:
        for centre, layers in ((0, [0, 1]), (1, [0, 1, 2]), (2, [1, 2])):
            names = [hook_name(site, layer) for layer in layers]
            expected = patched_by_hand(pair, prompts, names, lambda own, donor: own.copy_(donor))
            np.testing.assert_allclose(result.sel(component=site, layer=centre), expected, atol=1e-4, err_msg=site)


def test_joint_sites_are_swapped_together(llama):
    pair, prompts = llama
    for joint in (("z", "mlp_out"), ("attn_out", "mlp_post"), ("resid_pre", "mlp_post")):
        actual = dissect.patch(pair, prompts, [joint], layers=[1], window=3, progress=False).recovery()
        names = [hook_name(site, layer) for layer in (0, 1, 2) for site in joint]
        expected = patched_by_hand(pair, prompts, names, lambda own, donor: own.copy_(donor))
        np.testing.assert_allclose(actual.squeeze(), expected, atol=1e-4, err_msg=str(joint))


@pytest.mark.parametrize("positions", ["prompt", "answer", "predicting", "last_prompt", "subject"])
@pytest.mark.parametrize("site", ["mlp_post", "v", "pattern"])
def test_spans_are_swapped_and_nothing_else(positions, site, llama):
    pair, prompts = llama
    ends = prompts.prompt_lengths
    chosen = {
        "prompt": prompts.prompt_mask,
        "answer": prompts.answer_mask,
        "predicting": prompts.predicting_mask,
        "last_prompt": torch.arange(prompts.tokens.shape[1])[None] == ends[:, None] - 1,
        "subject": prompts.subject_mask,
    }[positions]

    def overwrite(own, donor):
        rows, columns = chosen.nonzero(as_tuple=True)
        if site == "pattern":
            own[rows, :, columns] = donor[rows, :, columns]
        else:
            own[rows, columns] = donor[rows, columns]

    actual = dissect.patch(pair, prompts, [site], window=1, positions=positions, progress=False).recovery()
    for layer in range(3):
        expected = patched_by_hand(pair, prompts, [hook_name(site, layer)], overwrite)
        np.testing.assert_allclose(actual.sel(component=site, layer=layer), expected, atol=1e-4)


def test_each_position_is_a_cell_aligned_at_the_answer(llama):
    pair, prompts = llama
    result = dissect.patch(pair, prompts, ["resid_post"], window=1, positions="each", progress=False)
    recovery = result.recovery().sel(component="resid_post")
    assert recovery.dims == ("layer", "position", "prompt")
    first = -prompts.prompt_lengths
    assert recovery["position"].values.tolist() == list(
        range(int(first.min()), int((prompts.lengths - prompts.prompt_lengths).max()))
    )
    for prompt in range(len(prompts)):
        exists = recovery.sel(prompt=prompt, layer=0).notnull().values
        assert int(exists.sum()) == int(prompts.lengths[prompt])
        before = int(prompts.prompt_lengths[prompt]) - 1

        def overwrite(own, donor, row=prompt, column=before):
            own[row, column] = donor[row, column]

        expected = patched_by_hand(pair, prompts, [hook_name("resid_post", 1)], overwrite)[prompt]
        assert float(recovery.sel(layer=1, position=-1, prompt=prompt)) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(("site", "count"), [("z", 4), ("q", 4), ("k", 2), ("v", 2), ("pattern", 4)])
def test_single_heads(site, count, llama):
    pair, prompts = llama
    actual = dissect.patch(pair, prompts, [site], window=1, heads="each", progress=False).recovery()
    assert actual["head"].values.tolist() == list(range(count))
    axis = 1 if site == "pattern" else 2
    for head in range(count):

        def overwrite(own, donor, head=head):
            own.select(axis, head).copy_(donor.select(axis, head))

        expected = patched_by_hand(pair, prompts, [hook_name(site, 1)], overwrite)
        np.testing.assert_allclose(actual.sel(component=site, layer=1, head=head), expected, atol=1e-4)


def test_all_heads_together_are_the_site_and_groups_have_their_names(llama):
    pair, prompts = llama
    whole = dissect.patch(pair, prompts, ["z"], window=1, progress=False).recovery()
    grouped = dissect.patch(pair, prompts, ["z"], window=1, heads=[[0, 1, 2, 3], [1, 3], 2], progress=False).recovery()
    assert grouped["head"].values.tolist() == ["0,1,2,3", "1,3", "2"]
    np.testing.assert_allclose(grouped.sel(head="0,1,2,3"), whole, atol=1e-6)


def test_neurons(llama):
    pair, prompts = llama
    asked = [3, [5, 7], list(range(pair.base.cfg.d_mlp))]
    actual = dissect.patch(pair, prompts, ["mlp_post"], window=1, neurons=asked, progress=False).recovery()

    def overwrite(own, donor):
        own[..., [5, 7]] = donor[..., [5, 7]]

    expected = patched_by_hand(pair, prompts, [hook_name("mlp_post", 2)], overwrite)
    np.testing.assert_allclose(actual.sel(component="mlp_post", layer=2, neurons="5,7"), expected, atol=1e-4)
    whole = dissect.patch(pair, prompts, ["mlp_post"], window=1, progress=False).recovery()
    np.testing.assert_allclose(actual.isel(neurons=2), whole, atol=1e-6)


def test_sets_of_layers_are_swapped_as_given(llama):
    pair, prompts = llama
    result = dissect.patch(pair, prompts, ["attn_out"], layers=[{0, 2}, {1}], progress=False)
    assert result.data["layer"].values.tolist() == ["0,2", "1"]
    names = [hook_name("attn_out", layer) for layer in (0, 2)]
    expected = patched_by_hand(pair, prompts, names, lambda own, donor: own.copy_(donor))
    np.testing.assert_allclose(result.recovery().sel(layer="0,2").squeeze(), expected, atol=1e-4)


def test_controls(llama):
    pair, prompts = llama
    result = dissect.patch(pair, prompts, ["attn_out"], window=3, controls=True, progress=False)
    recovery = result.recovery()
    assert recovery["component"].values.tolist() == [
        "attn_out",
        "attn_out (identity)",
        "attn_out (shuffled)",
        "attn_out (random)",
        "attn_out (single layers)",
    ]
    assert (recovery.sel(component="attn_out (identity)").values == 0.0).all()
    single = dissect.patch(pair, prompts, ["attn_out"], window=1, progress=False).recovery()
    np.testing.assert_array_equal(recovery.sel(component="attn_out (single layers)"), single.sel(component="attn_out"))
    again = dissect.patch(pair, prompts, ["attn_out"], window=3, controls=True, progress=False)
    assert again.recovery().identical(recovery)
    other = dissect.patch(pair, prompts, ["attn_out"], window=3, controls=["random"], seed=1, progress=False)
    assert not np.allclose(
        other.recovery().sel(component="attn_out (random)"), recovery.sel(component="attn_out (random)")
    )


@pytest.mark.parametrize("sequential", [False, True])
def test_the_retain_control_is_a_sweep_from_the_retrained_model(sequential, tiny_pair, facts, tmp_path):
    third = make_checkpoint("llama", tmp_path / "third", change=depth.retrained)
    pair = dissect.load_pair(*tiny_pair("llama"), retrained=third, sequential=sequential, progress=False)
    prompts = facts.prompts(pair.tokenizer)
    how = {"window": 1, "metrics": ("logprob", "krs"), "progress": False}
    found = dissect.patch(pair, prompts, ["attn_out"], controls=["retrained"], **how)
    other = dissect.patch(pair, prompts, ["attn_out"], donor="retrained", **how)
    control = found.values("logprob").sel(component="attn_out (retrained)", drop=True)
    assert not np.allclose(control, found.values("logprob").sel(component="attn_out"))
    np.testing.assert_array_equal(control, other.values("logprob").sel(component="attn_out", drop=True))


def test_who_has_no_retrained_model_has_no_such_control(llama):
    pair, prompts = llama
    with pytest.raises(DissectError, match="--retrained"):
        dissect.patch(pair, prompts, ["attn_out"], controls=["retrained"], progress=False)


@pytest.mark.parametrize("sequential", [False, True])
def test_the_identity_control_is_zero_for_every_kind_of_swap(sequential, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), sequential=sequential, progress=False)
    prompts = facts.prompts(pair.tokenizer)
    for asked in (
        {"components": ["mlp_post", "resid_post"], "positions": "each"},
        {"components": ["attn_out", ("z", "mlp_out")], "positions": "subject"},
        {"components": ["q", "z", "pattern"], "heads": "each"},
        {"components": ["k", "v"], "heads": [0]},
        {"components": ["mlp_post"], "neurons": [3, [5, 7]], "positions": "last_prompt"},
        {"components": [("attn_out", "mlp_post"), "v"], "donor": "unlearned", "recipient": "base"},
    ):
        for controls in (["identity"], ["random", "identity"]):
            recovery = dissect.patch(pair, prompts, **asked, controls=controls, progress=False).recovery()
            names = [name for name in recovery["component"].values if "identity" in str(name)]
            assert float(np.nanmax(np.abs(recovery.sel(component=names).values))) == 0.0


def test_a_model_shuffled_into_itself_runs(llama):
    pair, prompts = llama
    result = dissect.patch(
        pair, prompts, ["mlp_post"], donor="base", recipient="base", controls=["shuffled"], progress=False
    )
    assert (result.values("krs").sel(component="mlp_post").values == 0).all()
    assert (result.values("krs").sel(component="mlp_post (shuffled)").values > 0).all()


def test_the_shuffled_donor_brings_another_prompts_activations_by_role(llama):
    pair, prompts = llama
    two = prompts[[0, 1]]
    result = dissect.patch(pair, two, ["resid_mid"], layers=[1], window=1, controls=["shuffled"], progress=False)
    _, cache = pair.base.run_with_cache(two.tokens[[1, 0]], padding_side="right")
    name = hook_name("resid_mid", 1)
    starts, lengths = two.prompt_lengths.tolist(), two.lengths.tolist()

    def overwrite(own, donor):
        for row in (0, 1):
            for position in range(own.shape[1]):
                source = position + starts[1 - row] - starts[row]
                if 0 <= source < lengths[1 - row]:
                    own[row, position] = cache[name][row, source]

    expected = patched_by_hand(pair, two, [name], overwrite)
    actual = result.recovery().sel(component="resid_mid (shuffled)", layer=1)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_the_random_donor_is_as_long_as_the_donor(llama):
    from dissect.patching.activation_controls import RandomDonor
    from dissect.patching.where import inside
    from dissect.sweep.batch import batches

    pair, prompts = llama
    source, name = Donor(pair.base), hook_name("mlp_post", 1)
    noise = RandomDonor(source, seed=3)
    source.want([name])
    noise.want([name])
    batch = next(batches(prompts, 8))
    real, drawn = (donor.activation(batch, name)[inside(batch.prompts)] for donor in (source, noise))
    torch.testing.assert_close(real.norm(dim=-1), drawn.norm(dim=-1))
    assert float(torch.cosine_similarity(real, drawn, dim=-1).abs().max()) < 0.9


@pytest.mark.parametrize("asked", [{"components": ["mlp_post", "k"]}, {"components": ["pattern"], "heads": "each"}])
def test_noise_is_the_prompts_own(asked, llama):
    """The same for every size of batches, for a prompt alone, and in another order."""
    pair, prompts = llama

    def random(some: Prompts, batch_size: int) -> np.ndarray:
        result = dissect.patch(pair, some, **asked, controls=["random"], batch_size=batch_size, progress=False)
        return result.recovery().values

    together = random(prompts, 8)
    assert len(set(prompts.lengths.tolist())) > 1  # padding does not count either
    np.testing.assert_allclose(random(prompts, 1), together, atol=1e-5)
    np.testing.assert_allclose(random(prompts[[2, 0]], 8), together[..., [2, 0]], atol=1e-5)


def test_noise_never_attends_to_what_comes_later(llama):
    from dissect.patching.activation_controls import RandomDonor
    from dissect.sweep.batch import batches

    pair, prompts = llama
    source, name = Donor(pair.base), hook_name("pattern", 1)
    noise = RandomDonor(source)
    noise.want([name])
    drawn = noise.activation(next(batches(prompts, 8)), name)
    assert float(drawn.triu(1).abs().max()) == 0 and float(drawn.abs().max()) > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"components": ["resid_mid"]}, "no activation site 'resid_mid': it has"),
        ({"components": ["mlp_post"], "heads": "each"}, "has no heads: those that have are z, q, k, v, pattern"),
        ({"components": ["z"], "heads": [4]}, "no head 4: there are 4, from 0 to 3"),
        ({"components": ["z"], "heads": "all"}, "give 'each'"),
        ({"components": ["attn_out"], "neurons": [0]}, "entries of mlp_post"),
        ({"components": ["mlp_post"], "neurons": [40]}, "no neuron 40"),
        ({"positions": "somewhere"}, "no positions 'somewhere'"),
        ({"positions": [-40]}, "no position -40: all have"),
        ({"positions": []}, "name at least one"),
        ({"controls": ["placebo"]}, "no control 'placebo'"),
        ({"components": ["pattern"], "controls": ["shuffled"]}, "no meaning"),
        ({"layers": [{0, 9}]}, "no layer 9"),
        ({"layers": [set()]}, "empty set"),
    ],
)
def test_what_does_not_exist_is_refused_before_any_model_runs(asked, said, tiny_pair, facts, monkeypatch):
    pair = dissect.load_pair(*tiny_pair("neox"), progress=False)
    prompts = facts.prompts(pair.tokenizer)
    monkeypatch.setattr(HookedTransformer, "forward", lambda *args, **kwargs: pytest.fail("a model ran"))
    with pytest.raises(dissect.DissectError, match=said) as caught:
        dissect.patch(pair, prompts, progress=False, **asked)
    assert "\n" not in str(caught.value)


def test_a_subject_that_is_missing_is_named(llama):
    pair, _ = llama
    lone = dissect.Facts([dissect.Fact(question="Who?", answer="Lily")]).prompts(pair.tokenizer)
    with pytest.raises(dissect.DissectError, match="give its fact a 'subject'"):
        dissect.patch(pair, lone, positions="subject", progress=False)
