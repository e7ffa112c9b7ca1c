"""The drift map against numpy on the checkpoint's own tensors, and rounding on hand-made weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dissect
from dissect import plots
from dissect.measures.representation.drift_map import Drift
from dissect.models.changing.rounding import int8_levels, nf4_levels
from dissect.models.changing.spectrum import singular_values, thin_factors
from tests.support.tiny import make_checkpoint

TENSORS = {
    "llama": {
        "mlp.W_out": "model.layers.{l}.mlp.down_proj.weight",
        "attn.W_O": "model.layers.{l}.self_attn.o_proj.weight",
        "attn.W_K": "model.layers.{l}.self_attn.k_proj.weight",
    },
    "gpt2": {"mlp.W_out": "transformer.h.{l}.mlp.c_proj.weight", "attn.W_O": "transformer.h.{l}.attn.c_proj.weight"},
}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_measures_are_those_of_the_stored_matrices(architecture, tiny_pair):
    directories = tiny_pair(architecture)
    found = dissect.drift(dissect.load_pair(*directories, progress=False), progress=False)
    base, unlearned = (load_file(directory / "model.safetensors") for directory in directories)
    for block, pattern in TENSORS[architecture].items():
        for layer in range(3):
            cell = found.layers.sel(block=block, layer=layer)
            old, new = (files[pattern.format(l=layer)].double().numpy() for files in (base, unlearned))
            s = np.linalg.svd(new - old, compute_uv=False)
            shares = s / s.sum()
            expected = {
                "relative_norm": np.linalg.norm(new - old) / np.linalg.norm(old),
                "cosine": (old * new).sum() / np.linalg.norm(old) / np.linalg.norm(new),
                "moved": (old != new).mean(),
                "spectral_norm": s[0],
                "relative_spectral_norm": s[0] / np.linalg.norm(old, 2),
                "stable_rank": (s**2).sum() / s[0] ** 2,
                "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
            }
            for name, value in expected.items():
                assert float(cell[name]) == pytest.approx(value, rel=1e-5), (block, layer, name)


def test_a_change_of_rank_one_has_rank_one(tmp_path):
    def change(model: torch.nn.Module) -> None:
        weight = model.model.layers[1].mlp.up_proj.weight
        generator = torch.Generator().manual_seed(2)
        rows, columns = (torch.randn(size, generator=generator) for size in weight.shape)
        weight += torch.outer(rows, columns)

    base = make_checkpoint("llama", tmp_path / "base")
    pair = dissect.load_pair(base, make_checkpoint("llama", tmp_path / "other", change=change), progress=False)
    found = dissect.drift(pair, progress=False)
    here = found.layers.sel(block="mlp.W_in", layer=1)
    assert float(here["stable_rank"]) == pytest.approx(1, abs=1e-5)
    assert float(here["effective_rank"]) == pytest.approx(1, abs=1e-3)
    assert float(here["moved"]) == 1.0
    still = found.layers.sel(block="mlp.W_in", layer=0)
    assert float(still["moved"]) == float(still["moved_8bit"]) == float(still["spectral_norm"]) == 0.0
    assert np.isnan(float(still["stable_rank"]))
    assert np.isnan(found.layers["moved_4bit"].sel(block="ln")).all(), "vectors are not quantised"
    assert set(found.outside["block"].values) == {"embed", "ln_final", "unembed"}
    quick = dissect.drift(pair, spectra=False, progress=False)
    assert "stable_rank" not in quick.layers
    assert quick.layers["moved_4bit"].equals(found.layers["moved_4bit"])


def test_a_small_change_is_undone_by_rounding(tmp_path):
    def change(model: torch.nn.Module) -> None:
        for parameter in model.parameters():
            parameter *= 1 + 1e-3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))

    base = make_checkpoint("qwen3", tmp_path / "base")
    pair = dissect.load_pair(base, make_checkpoint("qwen3", tmp_path / "other", change=change), progress=False)
    found = dissect.drift(pair, spectra=False, progress=False).layers.sel(block="mlp.W_out").mean("layer")
    assert 1 == float(found["moved"]) > float(found["moved_8bit"]) > float(found["moved_4bit"]) > 0


def test_saved_maps_are_read_back_and_drawn(tiny_pair, tmp_path):
    pair = dissect.load_pair(*tiny_pair("llama_tied"), progress=False)
    found = dissect.drift(pair, progress=False)
    assert "unembed" not in found.outside["block"].values, "it is the embedding"
    found.save(tmp_path / "drift.nc")
    read = Drift.load(tmp_path / "drift.nc")
    assert read.layers.identical(found.layers) and read.outside.identical(found.outside)
    figure = plots.heatmap(read, "stable_rank", x="layer", y="block")
    np.testing.assert_allclose(figure.data[0].z, found.layers["stable_rank"])
    assert "stable rank" in figure.layout.coloraxis.colorbar.title.text
    assert "mlp.W_out" in repr(read) and "<table>" in read._repr_html_()
    with pytest.raises(dissect.DissectError, match="another kind of result"):
        dissect.SweepResult.load(tmp_path / "drift.nc")


def test_one_model_at_a_time(tiny_pair):
    pair = dissect.load_pair(*tiny_pair("gpt2"), progress=False)
    expected = dissect.drift(pair, progress=False)
    with pair.sequential():
        found = dissect.drift(pair, progress=False)
        assert pair.base.embed.W_E.is_meta
    assert found.layers.identical(expected.layers) and found.outside.identical(expected.outside)


def test_int8_is_the_nearest_of_255_levels_with_a_scale_a_row():
    weights = torch.tensor([[1.27, 0.0149, -0.0151, -1.27], [0.0, 0.0, 0.0, 0.0], [2.0, 1.0, -0.5, 0.0]])
    assert int8_levels(weights).tolist() == [[127, 1, -2, -127], [0, 0, 0, 0], [127, 64, -32, 0]]


def test_nf4_is_the_nearest_of_its_levels_with_a_scale_a_block():
    block = torch.linspace(-1, 1, 64)
    levels = nf4_levels(torch.cat([block, 100 * block, block[:10]])[None])[0]
    assert torch.equal(levels[:64], levels[64:128]), "each block has its own scale"
    assert levels[0] == 0 and levels[63] == 15 and sorted(set(levels[:64].tolist())) == list(range(16))
    assert nf4_levels(torch.tensor([[1.0, 0.03, 0.045, -0.04, -0.05]])).tolist() == [[15, 7, 8, 7, 6]]
    assert nf4_levels(torch.zeros(2, 3)).tolist() == [[7, 7, 7], [7, 7, 7]]


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_directions_are_those_of_the_singular_value_decomposition(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(singular_values(matrix), s, rtol=1e-9, atol=1e-9)
    left, right = thin_factors(matrix, 5)
    for rank in (1, 3, 5):
        torch.testing.assert_close(
            left[:, :rank] @ right[:rank], u[:, :rank] * s[:rank] @ v[:rank], rtol=1e-9, atol=1e-9
        )
