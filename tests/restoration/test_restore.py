"""Parameter sweeps over every block, scope and part of a block, against plain transformers."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

import dissect
from dissect.metrics.metric import Metric
from tests.patching.test_patch import answer_rows, prompts_of, sha
from tests.support import plain
from tests.support.tiny import make_checkpoint

D_HEAD, D_MLP = 8, 40
"""Of the tiny models."""
DOWN = {"llama": "model.layers.{l}.mlp.down_proj", "olmo": "model.layers.{l}.mlp.down_proj"}
DOWN["gpt2"] = "transformer.h.{l}.mlp.c_proj"


class Both:
    """A pair, and the same two checkpoints in transformers."""

    def __init__(self, directories) -> None:
        self.pair = dissect.load_pair(*directories, progress=False)
        self.plain = [
            AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval()
            for directory in directories
        ]

    def expected(self, rows: plain.Rows, change) -> np.ndarray:
        base, unlearned = self.plain
        return plain.krs_after(base, unlearned, rows, lambda model: change(base, model)).numpy()


@pytest.fixture(scope="module")
def both(tiny_pair):
    made: dict[str, Both] = {}

    def get(architecture: str) -> Both:
        if architecture not in made:
            made[architecture] = Both(tiny_pair(architecture))
        return made[architecture]

    return get


def weight(model: nn.Module, path: str) -> torch.Tensor:
    return model.get_submodule(path).weight


def krs(result: dissect.SweepResult, **cell) -> np.ndarray:
    return result.recovery("krs").sel(cell).squeeze().values


def swept(both: Both, facts, *args, **options) -> tuple[dissect.SweepResult, plain.Rows]:
    prompts, before = prompts_of(facts, both.pair), sha(both.pair.unlearned)
    result = dissect.restore(both.pair, prompts, *args, progress=False, **options)
    assert sha(both.pair.unlearned) == before
    return result, answer_rows(prompts)


@pytest.mark.parametrize("architecture", ["llama", "olmo", "gpt2"])
def test_the_curve_of_value_vectors_is_the_plain_procedures(architecture, both, facts):
    here = both(architecture)
    result, rows = swept(here, facts, ["mlp.W_out"], window=3)
    base, unlearned = here.plain
    expected = plain.krs(base, unlearned, rows, architecture=architecture, components=["values"], window=3)
    np.testing.assert_allclose(krs(result), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "olmo", "gpt2"])
def test_a_single_value_vector_is_a_column_of_down_proj(architecture, both, facts):
    here = both(architecture)
    result, rows = swept(here, facts, ["mlp.W_out"], window=1, layers=[1], neurons=[3, [0, 39]])
    for label, neurons in {"3": [3], "0,39": [0, 39]}.items():

        def change(base: nn.Module, model: nn.Module, neurons=neurons) -> None:
            path = DOWN[architecture].format(l=1)
            mine, theirs = weight(model, path), weight(base, path)
            if architecture == "gpt2":
                mine[neurons] = theirs[neurons]
            else:
                mine[:, neurons] = theirs[:, neurons]

        np.testing.assert_allclose(krs(result, neurons=label), here.expected(rows, change), atol=1e-4)


@pytest.mark.parametrize("letter", "QKVO")
def test_heads_are_rows_of_the_projections(letter, both, facts):
    """Grouped key/value heads are counted as the model stores them: two for four query heads."""
    here = both("llama")
    result, rows = swept(here, facts, [f"attn.W_{letter}"], window=1, layers=[2], heads="each")
    n_heads = 2 if letter in "KV" else 4
    assert result.data["head"].values.tolist() == list(range(n_heads))
    for head in range(n_heads):

        def change(base: nn.Module, model: nn.Module, head=head) -> None:
            path = f"model.layers.2.self_attn.{letter.lower()}_proj"
            mine, theirs, here = weight(model, path), weight(base, path), slice(head * D_HEAD, (head + 1) * D_HEAD)
            if letter == "O":
                mine[:, here] = theirs[:, here]
            else:
                mine[here] = theirs[here]

        np.testing.assert_allclose(krs(result, head=head), here.expected(rows, change), atol=1e-4)


def test_heads_of_a_fused_projection(both, facts):
    here = both("gpt2")
    result, rows = swept(here, facts, ["attn.W_V"], window=1, layers=[0], heads=[2])

    def change(base: nn.Module, model: nn.Module) -> None:
        path, values = "transformer.h.0.attn.c_attn", slice(2 * 32 + 2 * D_HEAD, 2 * 32 + 3 * D_HEAD)
        weight(model, path)[:, values] = weight(base, path)[:, values]

    np.testing.assert_allclose(krs(result), here.expected(rows, change), atol=1e-4)


@pytest.mark.parametrize("block", ["mlp.W_out", "attn.W_O", "attn.W_K"])
def test_low_rank_is_the_best_approximation_of_the_change(block, both, facts):
    here, path = (
        both("llama"),
        {
            "mlp.W_out": "model.layers.1.mlp.down_proj",
            "attn.W_O": "model.layers.1.self_attn.o_proj",
            "attn.W_K": "model.layers.1.self_attn.k_proj",
        },
    )
    result, rows = swept(here, facts, [block], window=1, layers=[1], rank=[1, 5, 1000])
    for rank in (1, 5):

        def change(base: nn.Module, model: nn.Module, rank=rank) -> None:
            mine = weight(model, path[block])
            u, s, v = torch.linalg.svd((weight(base, path[block]) - mine).double())
            mine += (u[:, :rank] * s[:rank] @ v[:rank]).float()

        np.testing.assert_allclose(krs(result, low_rank=rank), here.expected(rows, change), atol=1e-4)
    whole, _ = swept(here, facts, [block], window=1, layers=[1])
    assert np.array_equal(krs(result, low_rank=1000), krs(whole))


def test_a_metric_and_a_dimension_may_not_share_a_name(both, facts):
    result, _ = swept(both("llama"), facts, ["mlp.W_out"], layers=[1], rank=[1, 2], metrics=["rank"])
    assert result.recovery("rank").sizes["low_rank"] == 2
    for name, others in (("t", []), ("layer", []), ("n_scored", []), ("krs_donor", ["krs"])):
        clash = Metric(name=name, label="clash", score=lambda scored: scored.logits[:, 0])
        with pytest.raises(dissect.DissectError, match=f"called '{name}'.*another name"):
            swept(both("llama"), facts, ["mlp.W_out"], t=[0.5], metrics=[*others, clash])


def test_interpolation_goes_from_the_recipient_to_the_donor(both, facts):
    here = both("olmo")
    result, rows = swept(here, facts, ["mlp"], layers=[{0, 1, 2}], t=[0, 0.25, 1])
    assert np.array_equal(krs(result, t=0), np.zeros(len(facts)))
    whole, _ = swept(here, facts, ["mlp"], layers=[{0, 1, 2}])
    assert np.array_equal(krs(result, t=1), krs(whole))

    def change(base: nn.Module, model: nn.Module) -> None:
        for (name, mine), theirs in zip(model.named_parameters(), base.parameters(), strict=True):
            if ".mlp." in name:
                mine += 0.25 * (theirs - mine)

    np.testing.assert_allclose(krs(result, t=0.25), here.expected(rows, change), atol=1e-4)


@pytest.mark.parametrize(
    ("scope", "members"),
    [("from_last", ["0,1,2", "1,2", "2"]), ("from_first", ["0", "0,1", "0,1,2"]), ("windows", ["0", "1", "2"])],
)
def test_cumulative_scopes_are_sets_of_layers(scope, members, both, facts):
    here = both("llama")
    result, _ = swept(here, facts, ["mlp", "attn"], window=1, scope=scope)
    assert result.data["members"].sel(component="mlp").values.tolist() == members
    sets, _ = swept(here, facts, ["mlp", "attn"], layers=[[int(i) for i in text.split(",")] for text in members])
    assert np.array_equal(result.recovery("krs").values, sets.recovery("krs").values)


def test_everything_but_a_block_is_the_base_model_with_the_unlearned_block(both, facts):
    here = both("gpt2")
    result, rows = swept(here, facts, ["mlp", "unembed"], window=1, scope="all_but")
    assert result.data["component"].values.tolist() == ["all but mlp", "all but unembed"]

    def change(base: nn.Module, model: nn.Module) -> None:
        for (name, mine), theirs in zip(model.named_parameters(), base.parameters(), strict=True):
            if "transformer.h.1.mlp" not in name:
                mine.copy_(theirs)

    np.testing.assert_allclose(krs(result, component="all but mlp", layer=1), here.expected(rows, change), atol=1e-4)
    # The embedding is tied: nothing is left of the unlearned model outside the layers but positions and norms.
    assert np.isnan(krs(result, component="all but unembed", layer=1)).all()
    assert np.isfinite(krs(result, component="all but unembed", layer=3)).all()


def test_blocks_outside_the_layers_have_their_own_place(both, facts):
    here = both("llama")
    result, rows = swept(here, facts, ["mlp.W_out", "embed", "ln_final+unembed"], window=1)
    assert result.data["layer"].values.tolist() == [-1, 0, 1, 2, 3]

    def change(base: nn.Module, model: nn.Module) -> None:
        for path in ("model.norm", "lm_head"):
            weight(model, path).copy_(weight(base, path))

    found = krs(result, component="ln_final+unembed", layer=3)
    np.testing.assert_allclose(found, here.expected(rows, change), atol=1e-4)
    assert np.isfinite(krs(result, component="embed", layer=-1)).all()
    assert np.isnan(krs(result, component="embed", layer=3)).all()


@pytest.mark.parametrize("sites", [["mlp_post"], ["attn_out"], ["mlp_post", "attn_out"]])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_mixed_cells_swap_parameters_and_activations_at_once(architecture, sites, both, facts):
    here = both(architecture)
    result, rows = swept(here, facts, [("mlp.W_out", *sites)], window=3)
    base, unlearned = here.plain
    for layer, members in enumerate(([0, 1], [0, 1, 2], [1, 2])):
        mixed = plain.copy.deepcopy(unlearned)
        with torch.no_grad():
            for member in members:
                path = DOWN[architecture].format(l=member)
                weight(mixed, path).copy_(weight(base, path))
            targets, own = plain.logits(base, rows), plain.logits(unlearned, rows)
            now = plain._with_activations(base, mixed, rows, architecture, sites, members)
        expected = [
            1 - float((a - c).pow(2).mean() / (a - b).pow(2).mean()) for a, b, c in zip(targets, own, now, strict=True)
        ]
        np.testing.assert_allclose(krs(result, layer=layer), expected, atol=1e-4)


def test_unlearned_weights_in_the_base_model(both, facts):
    """The other direction: recovery is then towards the unlearned model."""
    here = both("llama")
    prompts = prompts_of(facts, here.pair)
    how = {"donor": "unlearned", "recipient": "base", "progress": False}
    result = dissect.restore(here.pair, prompts, ["block+embed+ln_final+unembed"], layers=[{0, 1, 2}], **how)
    assert (result.recovery("krs") == 1.0).all()
    nothing = dissect.restore(here.pair, prompts, ["block"], layers=[{0, 1, 2}], t=[0], **how)
    assert (nothing.recovery("krs") == 0.0).all()


def test_controls(tiny_pair, facts, tmp_path):
    base, unlearned = tiny_pair("llama")
    pair = dissect.load_pair(base, unlearned, retrained=base, progress=False)
    prompts = prompts_of(facts, pair)
    result = dissect.restore(pair, prompts, ["mlp.W_out"], window=1, controls=True, progress=False)
    names = result.data["component"].values.tolist()
    assert names == ["mlp.W_out", *(f"mlp.W_out ({c})" for c in ("identity", "random", "noise", "retrained"))]
    assert (result.recovery("krs").sel(component="mlp.W_out (identity)") == 0.0).all()
    assert np.array_equal(krs(result, component="mlp.W_out (retrained)"), krs(result, component="mlp.W_out"))
    drawn = result.data["members"].sel(component="mlp.W_out (random)").values.tolist()
    for layer, members in enumerate(drawn):
        assert len(members.split(",")) == 1 and int(members) != layer
        elsewhere = krs(result, component="mlp.W_out", layer=int(members))
        assert np.array_equal(krs(result, component="mlp.W_out (random)", layer=layer), elsewhere)
    noise = krs(result, component="mlp.W_out (noise)")
    assert np.isfinite(noise).all() and (noise != 0).all() and (noise != krs(result, component="mlp.W_out")).all()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"blocks": ["mlp"], "window": 5, "layers": [1]}, "hold 3 or more of 3"),
        ({"blocks": ["unembed"], "window": 1}, "stand outside the layers"),
    ],
)
def test_a_random_control_that_cannot_be_is_not_lost_silently(asked, why, tiny_pair, facts, caplog):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = prompts_of(facts, pair)
    with pytest.raises(dissect.DissectError, match=why):
        dissect.restore(pair, prompts, **asked, controls=["identity", "random"], progress=False)
    result = dissect.restore(pair, prompts, **asked, controls=True, progress=False)
    assert why in caplog.text
    assert not [name for name in result.data["component"].values if "(random)" in str(name)]
    dissect.restore(pair, prompts, ["mlp", "unembed"], window=1, controls=["random"], progress=False)


def test_noise_is_as_long_as_the_change(tiny_pair):
    from dissect.restoration.blend import Noise

    own, donated = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    mixed = Noise(3)("blocks.0.mlp.W_out", own, donated)
    torch.testing.assert_close((mixed - own).norm(), (donated - own).norm())
    assert torch.equal(mixed, Noise(3)("blocks.0.mlp.W_out", own, donated))
    assert not torch.equal(mixed, Noise(4)("blocks.0.mlp.W_out", own, donated))
    part = own.clone()
    part[2] = donated[2]
    mixed = Noise(3)("blocks.0.mlp.W_out", own, part)
    torch.testing.assert_close((mixed - own)[2].norm(), (donated - own)[2].norm())
    assert torch.equal(mixed[[0, 1, 3, 4]], own[[0, 1, 3, 4]]), "of one neuron it is noise in that neuron"
    assert torch.equal(Noise(3)("blocks.0.mlp.W_out", own, own), own)


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ("mlp.W_out", {"rank": [1, 3]}),
        ("mlp.W_out", {"t": [0.5]}),
        ("attn.W_O", {"heads": [1]}),
        ("mlp.W_in", {"neurons": [4]}),
        ("attn.W_V", {"rank": [2], "heads": [0]}),
    ],
)
def test_controls_of_parts_of_blocks(block, parts, tiny_pair, facts):
    """Each is a control of the part, and none is mistaken for another."""
    base, unlearned = tiny_pair("llama")
    third = make_checkpoint("llama", base.parent / "third", seed=7)
    pair = dissect.load_pair(base, unlearned, retrained=third, progress=False)
    prompts = prompts_of(facts, pair)
    how = {"window": 1, "layers": [1], "progress": False, **parts}
    result = dissect.restore(pair, prompts, [block], controls=True, **how).recovery("krs")
    assert (result.sel(component=f"{block} (identity)") == 0.0).all()
    values = {name: result.sel(component=name).values for name in result["component"].values.tolist()}
    assert all(np.isfinite(value).all() for value in values.values())
    names = list(values)
    assert not any(np.array_equal(values[a], values[b]) for a in names for b in names if a < b)
    # the gap to the base model stays the measure, so only the values of the metric can be compared
    other = dissect.ModelPair(pair.retrained, pair.unlearned)
    alone = dissect.restore(other, prompts, [block], metrics=["logprob"], **how).values("logprob")
    among = dissect.restore(pair, prompts, [block], controls=["retrained"], metrics=["logprob"], **how).values(
        "logprob"
    )
    np.testing.assert_allclose(among.sel(component=f"{block} (retrained)"), alone.sel(component=block), atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"blocks": ["mlp.W_outt"]}, "no parameter block 'mlp.W_outt'"),
        ({"blocks": [("mlp_post", "attn_out")]}, "has no parameter block"),
        ({"blocks": [("mlp", "mlp.W_out")]}, "mlp.W_out twice"),
        ({"blocks": [("mlp.W_out", "mlp.W_out")]}, "twice"),
        ({"blocks": []}, "nothing to sweep"),
        ({"blocks": ["pos_embed"]}, "no parameters in 'pos_embed'"),
        ({"window": 2}, "odd number"),
        ({"layers": [3]}, "no layer 3"),
        ({"scope": "upwards"}, "no scope 'upwards'"),
        ({"scope": "from_last", "layers": [{0, 1}]}, "give single layers"),
        ({"scope": "all_but", "t": [0.5]}, "leaves out whole blocks"),
        ({"scope": "all_but", "blocks": [("mlp.W_out", "mlp_post")]}, "about parameters"),
        ({"heads": "each"}, "'mlp.W_out' cannot be cut into heads"),
        ({"blocks": ["attn.W_Q"], "heads": [4]}, "no head 4: there are 4"),
        ({"blocks": ["attn.W_Q", "attn.W_K"], "heads": "each"}, "different numbers of heads"),
        ({"blocks": [("attn.W_Q", "attn_out")], "heads": "each"}, "has no heads"),
        ({"blocks": ["mlp"], "neurons": [0]}, "cannot be cut into neurons"),
        ({"neurons": [40]}, "no neuron 40"),
        ({"blocks": [("mlp.W_out", "attn_out")], "neurons": [0]}, "has no neurons"),
        ({"rank": [0]}, "ranks of 1 or more"),
        ({"t": [float("nan")]}, "give numbers"),
        ({"t": []}, "give numbers"),
        ({"controls": ["shuffled"]}, "no control 'shuffled'"),
        ({"controls": ["retrained"]}, "needs a retrained model"),
        ({"layers": [{0}, {1, 2}], "blocks": ["mlp", "unembed"]}, "cannot share an axis"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said, both, facts):
    pair = both("llama").pair
    before = sha(pair.unlearned)
    with pytest.raises(dissect.DissectError, match=said) as caught:
        dissect.restore(pair, prompts_of(facts, pair), progress=False, **asked)
    assert "\n" not in str(caught.value)
    assert sha(pair.unlearned) == before
