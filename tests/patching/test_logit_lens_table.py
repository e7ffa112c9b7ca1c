"""The logit lens token by token: as transformers reads it, as text, on disk and as a figure."""

import numpy as np
import pytest

import dissect
from dissect import plots
from dissect.data.token_table import token_texts
from dissect.patching.attribution_result import AttributionResult
from dissect.patching.lens_table import LensTable
from tests.support import depth

FOUR = ["llama", "gpt2", "neox", "gemma2"]


@pytest.fixture(scope="module")
def table(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    return dissect.logit_lens(pair, facts.prompts(pair.tokenizer), progress=False)


@pytest.mark.parametrize("architecture", FOUR)
@pytest.mark.parametrize("head", ["base", "own"])
def test_every_place_is_what_transformers_reads(architecture, head, tiny_pair, facts, monkeypatch):
    monkeypatch.setattr("dissect.patching.logit_lens.LOGITS_AT_ONCE", 3 * 320)
    directories = tiny_pair(architecture)
    pair = dissect.load_pair(*directories, dtype="float64", progress=False)
    prompts = facts.prompts(pair.tokenizer)
    found = dissect.logit_lens(pair, prompts, head=head, k=3, batch_size=2, progress=False).data
    plain = [depth.hf(directory) for directory in directories]
    for name, model in zip(("base", "unlearned"), plain, strict=True):
        for row, (ids, answer) in enumerate(depth.texts(prompts)):
            everywhere = range(1, ids.shape[1] + 1)  # places whose states read the token before them
            layers = depth.lens_logits(model, plain[0] if head == "base" else model, ids, everywhere, architecture)
            start = int(prompts.prompt_lengths[row])
            for layer, logits in enumerate(layers):
                here = found.sel(model=name, layer=layer, prompt=row, position=slice(-start, ids.shape[1] - start - 1))
                top = logits.softmax(-1).topk(3)
                said = [token_texts(prompts, tokens) for tokens in top.indices.tolist()]
                assert here["said"].transpose("position", "k").values.tolist() == said
                np.testing.assert_allclose(here["probability"].transpose("position", "k"), top.values, atol=1e-6)
                logs = logits[:-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
                np.testing.assert_allclose(here["logprob"].values[:-1], logs[:, 0], atol=1e-5)
                places = 1 + (logits[:-1].log_softmax(-1) > logs).sum(-1)
                assert here["rank"].values[:-1].tolist() == places.tolist() and np.isnan(here["rank"].values[-1])
            assert answer[0] == start


def test_what_a_prompt_does_not_have_is_empty(table):
    data = table.data
    there = data["token"] != ""
    assert bool((~there).any()) and bool((data["said"].isel(k=0) != "").where(there, True).all())
    assert not bool((data["said"] != "").where(~there, False).any())
    assert bool(data["probability"].where(~there).isnull().all()) and bool(data["logprob"].where(~there).isnull().all())
    assert float(data["probability"].max()) <= 1 and float(data["logprob"].max()) <= 0


def test_it_reads_as_a_table_and_comes_back_from_disk(table, tmp_path):
    shown = table.table(prompt=1, position=0, k=2)
    assert list(shown.columns) == ["base", "unlearned"] and list(shown.index) == [2, 1, 0]
    first = table.data.sel(prompt=1, position=0, model="base", layer=2)
    assert shown.loc[2, "base"].split(" ")[0] == str(first["said"].values[0])
    table.save(tmp_path / "lens.nc")
    again = LensTable.load(tmp_path / "lens.nc")
    assert again.data.equals(table.data) and again.spec == table.spec and repr(again) == repr(table)
    assert "<table" in again._repr_html_()
    with pytest.raises(dissect.DissectError, match="another kind of result"):
        dissect.SweepResult.load(tmp_path / "lens.nc")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"k": 0}, "k=0"),
        ({"head": "theirs"}, "choose from base, unlearned, retrained, own"),
        ({"models": ("retrained",)}, "retrained"),
        ({"models": ()}, "at least one"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_what_cannot_be_asked(wrong, says, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    with pytest.raises(dissect.DissectError, match=says):
        dissect.logit_lens(pair, facts.prompts(pair.tokenizer), progress=False, **wrong)


def test_its_figure_shows_the_likeliest_tokens(table):
    figure = plots.lens(table, prompt=2)
    data = table.data.sel(prompt=2)
    base, unlearned = figure.data
    shown = [p for p in data["position"].values if str(data["token"].sel(position=p).values)]
    shown = [p for p in shown if -8 <= p < max(shown)]
    for name, trace in (("base", base), ("unlearned", unlearned)):
        expected = data["probability"].sel(model=name, k=1, position=shown)
        np.testing.assert_allclose(trace.z, expected)
        right = (data["rank"].sel(model=name, position=shown) == 1).values
        assert [[text.startswith("<b>") for text in row] for row in trace.text] == right.tolist()
    one = plots.lens(table, prompt=2, positions=[-1], models=["base"], title="Mine")
    assert len(one.data) == 1 and one.data[0].z.shape == (3, 1) and one.layout.title.text.startswith("Mine")
    for wrong in ({"prompt": 9}, {"positions": [99]}, {"models": ["retrained"]}):
        with pytest.raises(dissect.DissectError, match="it has"):
            plots.lens(table, **wrong)


def test_tokens_are_shown_as_text_and_not_as_markup(table):
    data = table.data.copy()
    data["said"] = data["said"].astype(object)
    data["said"][...] = "<i>Ġx"
    text = plots.lens(LensTable(data)).data[0].text
    assert all("<i>" not in cell and "&lt;i" in cell for row in text for cell in row)


def test_estimates_are_drawn_against_exact_patches(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)
    result = dissect.attribute(pair, prompts, ["z", "mlp_post"], metrics="logprob", check=5, progress=False)
    figure = plots.agreement(result)
    points = [(x, y) for trace in figure.data if trace.mode == "markers" for x, y in zip(trace.x, trace.y, strict=True)]
    assert sorted(points) == sorted(zip(result.checked["estimate"], result.checked["exact"], strict=True))
    assert f"{result.agreement:.3f} over 5 cells" in figure.layout.title.text
    unchecked = dissect.attribute(pair, prompts, ["z"], metrics="logprob", progress=False)
    with pytest.raises(dissect.DissectError, match="check=40"):
        plots.agreement(AttributionResult(unchecked.data))
