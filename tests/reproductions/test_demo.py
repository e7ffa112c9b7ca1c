"""The whole story on a tiny world, and what can be done with what it leaves; the pages' code is run in test_docs.py."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import dissect
from dissect.cli import main
from dissect.reproductions.demo import run_demo
from dissect.reproductions.small_world import small_world
from dissect.restoration.smallest_result import SmallestSet
from tests.conftest import TINY
from tests.restoration.test_smallest import pooled_krs

ROOT = Path(__file__).parents[2]


def test_the_demo_writes_everything(demo):
    names = {path.name for path in demo.iterdir()}
    assert names == {
        *("base", "retrained", "ga", "npo", "undial", "results"),
        *("forget.jsonl", "retain.jsonl", "retain_seen.jsonl", "retain_unseen.jsonl"),
        *("demo.json", "methods.json", "verdict.json", "noise-and-repair", "index.html"),
    }
    assert len(dissect.Facts.read(demo / "forget.jsonl")) == 18
    assert len(dissect.Facts.read(demo / "retain.jsonl")) == 54


def test_the_base_model_knows_and_the_unlearned_one_says_less(demo):
    from dissect.reading.answers import reproduced

    forget = dissect.Facts.read(demo / "forget.jsonl")
    share = [
        float(reproduced(model, forget.prompts(model)).float().mean())
        for model in (dissect.load(demo / name, progress=False) for name in ("base", "ga"))
    ]
    assert share[0] == 1.0
    assert share[1] < 0.6


def test_the_curves_have_the_papers_order(demo):
    """m + A brings back more than either, and the value vectors least, on the mean over layers."""
    pair = dissect.load_pair(demo / "base", demo / "ga", progress=False)
    prompts = dissect.Facts.read(demo / "forget.jsonl").prompts(pair.base, answers="base", progress=False)
    how = {"window": TINY.window, "progress": False}
    both = dissect.concat(dissect.patch(pair, prompts, **how), dissect.restore(pair, prompts, **how))
    mean = both.recovery("krs").mean(("layer", "prompt"))
    curves = {str(name): float(mean.sel(component=name)) for name in mean["component"].values}
    assert curves["mlp_post+attn_out"] > max(curves["mlp_post"], curves["attn_out"]) > curves["mlp.W_out"]


def test_the_page_needs_no_network_and_says_what_was_seen(demo):
    text = (demo / "index.html").read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="http', text)
    for words in (
        "What the models say",
        "value vectors W_V (mlp.W_out)",
        "(shuffled)",
        "dissect patch",
        "side by side",
    ):
        assert words in text
    assert len(text) < 15e6


def test_a_second_demo_uses_the_worlds_models_again(demo):
    weights = [demo / name / "model.safetensors" for name in ("base", "retrained")]
    before = [file.stat().st_mtime_ns for file in weights]
    assert small_world(demo) == demo
    assert [file.stat().st_mtime_ns for file in weights] == before


def test_the_demo_does_not_write_into_somebody_elses_directory(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(dissect.DissectError, match="not empty"):
        run_demo(tmp_path, settings=TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_smallest_set_on_the_world_is_verified(demo):
    """By exact runs outside of any sweep: it reaches the threshold, and without any member it does not."""
    found = SmallestSet.load(demo / "results" / "smallest.json")
    pair = dissect.load_pair(demo / "base", demo / "undial", progress=False)
    prompts = dissect.Facts.read(demo / "forget.jsonl").prompts(pair.base, answers="base", progress=False)
    direction = {"donor": "base", "recipient": "unlearned"}
    with torch.no_grad():
        whole = pooled_krs(pair, prompts, found.members, **direction)
        without = [
            pooled_krs(pair, prompts, [other for other in found.members if other != part], **direction)
            for part in found.members
        ]
    assert whole == pytest.approx(found.recovery, abs=1e-4) and whole >= found.threshold - 1e-4
    np.testing.assert_allclose(without, found.without, atol=1e-4)
    assert max(without) < found.threshold + 1e-4


def test_value_vectors_alone_restore_little(demo):
    pair = dissect.load_pair(demo / "base", demo / "ga", progress=False)
    prompts = dissect.Facts.read(demo / "forget.jsonl").prompts(pair.base)
    blocks = ["mlp.W_out", "block"]
    result = dissect.restore(pair, prompts, blocks, layers=[range(4)], progress=False)
    values, everything = result.ci("krs")["pooled"].values[:, 0]
    assert values < 0.4 and everything > 0.9


def test_the_command_line_and_python_give_the_same_numbers(demo, tmp_path, capsys):
    out = tmp_path / "sweep.nc"
    where = [str(demo / "base"), str(demo / "ga"), "--facts", str(demo / "forget.jsonl")]
    assert main(["restore", *where, "--blocks", "mlp.W_out", "--window", "3", "--out", str(out), "-q"]) == 0
    pair = dissect.load_pair(demo / "base", demo / "ga", progress=False)
    prompts = dissect.Facts.read(demo / "forget.jsonl").prompts(pair.base)
    expected = dissect.restore(pair, prompts, ["mlp.W_out"], window=3, progress=False)
    np.testing.assert_allclose(dissect.SweepResult.load(out).recovery(), expected.recovery(), atol=1e-9)
    asked = ["--components", "z", "--heads", "each", "--positions", "last_prompt", "--window", "1"]
    assert main(["patch", *where, *asked, "--controls", "shuffled", "--out", str(out), "--overwrite", "-q"]) == 0
    result = dissect.SweepResult.load(out)
    assert result.data["component"].values.tolist() == ["z", "z (shuffled)"]
    assert result.recovery().dims == ("component", "layer", "head", "prompt")
    figure = ["--kind", "heatmap", "--x", "head", "--y", "layer", "--out", str(tmp_path / "heads.html")]
    assert main(["plot", str(out), *figure]) == 0
    first = ["--components", "z", "--per", "head", "--window", "1", "--check", "6"]
    assert main(["attribute", *where, *first, "--out", str(out), "-q"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    first.append("--overwrite")
    assert main(["attribute", *where, *first, "--out", str(out), "-q"]) == 0
    assert "rank agreement with 6 cells run exactly" in capsys.readouterr().out
    assert main(["plot", str(out), *figure]) == 0
    assert main(["attribute", *where, *first, "--metrics", "krs,kl", "--out", str(out), "-q"]) == 2
    assert main(["inspect", str(demo / "base"), str(demo / "ga")]) == 0
    assert "mlp.W_out" in capsys.readouterr().out


def test_a_real_checkpoint_goes_all_the_way(tmp_path, capsys):
    """The main job on a small pretrained Llama: forget a story, save, patch, plot."""
    real = ROOT.parent / "shared" / "data" / "stories260k"
    if not real.is_dir():
        pytest.skip("the real checkpoint is not here")
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    dissect.Facts([dissect.Fact(text=story)]).write(tmp_path / "story.jsonl")
    facts, unlearned, sweep = (str(tmp_path / name) for name in ("story.jsonl", "ga", "sweep.nc"))
    unlearn = ["unlearn", str(real), "--method", "ga", "--forget", facts, "--lr", "1e-4", "--epochs", "20"]
    assert main([*unlearn, "--out", unlearned, "-q"]) == 0
    assert main(["patch", str(real), unlearned, "--facts", facts, "--out", sweep, "-q"]) == 0
    assert main(["plot", sweep, "--out", str(tmp_path / "curves.html")]) == 0
    result = dissect.SweepResult.load(sweep)
    assert result.data.sizes == {"component": 3, "layer": 5, "prompt": 1}
    both = result.recovery("krs").sel(component="mlp_post+attn_out", layer=2)
    assert 0.9 < both.item() <= 1.0  # all five layers' m and A: what is left is embedding and final norm
