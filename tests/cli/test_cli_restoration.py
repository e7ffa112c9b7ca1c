"""The commands around parameters, on real files: sweeps with every option, the smallest set, the drift map, figures."""

import json
from pathlib import Path

import pytest
import xarray as xr

import dissect
from dissect import cli
from dissect.cli.arguments.at import selection
from dissect.measures.representation.drift_map import Drift
from dissect.restoration.smallest_result import SmallestSet
from tests.cli.test_cli import one_line


@pytest.fixture
def files(tiny_pair, tmp_path, monkeypatch):
    """Arguments for a pair of checkpoints and a file of facts; the working directory is a new one."""
    monkeypatch.chdir(tmp_path)
    facts = [
        {"question": "Does Lily swim?", "answer": "Yes, Lily likes to swim."},
        {"question": "Who?", "answer": "Ann"},
    ]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)))
    return [*map(str, tiny_pair("llama")), "--facts", "facts.jsonl", "-q"]


@pytest.mark.parametrize(
    ("extra", "dims"),
    [
        (["--blocks", "mlp.W_out,mlp.W_out+mlp_post,unembed"], {"component": 3, "layer": 4}),
        (["--blocks", "attn.W_V", "--heads", "each"], {"head": 2}),
        (["--neurons", "3,5+7", "--layers", "1"], {"neurons": 2, "layer": 1}),
        (["--rank", "1,4", "--t", "0,0.5,1"], {"low_rank": 2, "t": 3}),
        (["--scope", "from_last", "--window", "5", "--controls", "identity,noise"], {"component": 3}),
        (["--sequential", "--answers", "base"], {"component": 1}),
    ],
)
def test_restore(extra, dims, files, capsys):
    assert cli.main(["restore", *files, "--window", "1", "--out", "sweep.nc", *extra]) == 0
    assert "saved sweep.nc" in capsys.readouterr().out
    result = dissect.SweepResult.load("sweep.nc")
    assert {dim: result.data.sizes[dim] for dim in dims} == dims


def test_restored_curves_over_t_are_drawn(files, capsys):
    assert cli.main(["restore", *files, "--layers", "1", "--t", "0,0.5,1", "--out", "sweep.nc"]) == 0
    assert cli.main(["plot", "sweep.nc", "--x", "t", "--out", "curves.html"]) == 0
    assert "t (0: recipient, 1: donor)" in Path("curves.html").read_text()


def test_what_is_drawn_can_be_selected(files, capsys):
    assert cli.main(["restore", *files, "--window", "1", "--t", "0,0.5,1", "--out", "sweep.nc"]) == 0
    capsys.readouterr()
    assert cli.main(["plot", "sweep.nc", "--out", "curves.html"]) == 2
    assert "--at t=..." in one_line(capsys)
    assert cli.main(["plot", "sweep.nc", "--at", "t=0.5", "--out", "curves.html"]) == 0
    assert cli.main(["plot", "sweep.nc", "--x", "t", "--at", "layer=1,component=mlp.W_out", "--out", "t.html"]) == 0
    heatmap = ["plot", "sweep.nc", "--kind", "heatmap", "--y", "t", "--out", "map.html"]
    assert cli.main([*heatmap, "--at", "t=1", "--at", "layer=0,2"]) == 0
    capsys.readouterr()
    for at, said in (
        ("layer=9", "no layer '9' in the result: it has 0, 1, 2"),
        ("head=1", "no dimension 'head'"),
        ("layer", "give dimension=value"),
        ("layer=", "give dimension=value"),
    ):
        assert cli.main(["plot", "sweep.nc", "--at", at, "--out", "x.html"]) == 2
        assert said in one_line(capsys)


def test_a_selection_finds_coordinates_as_they_are_written():
    data = xr.Dataset(coords={"head": ["0,1", "2"], "t": [0.25, 1.0], "component": ["mlp.W_out+mlp_post", "mlp"]})
    assert selection(["head=0+1,t=.25,1"], data) == {"head": ["0,1"], "t": [0.25, 1.0]}
    assert selection(["component=mlp.W_out+mlp_post", "component=mlp"], data) == {
        "component": ["mlp.W_out+mlp_post", "mlp"]
    }


def test_files_that_are_no_results_say_what_is_expected(tmp_path, capsys):
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "facts.json").write_text('{"question": "Who?"}')
    for name, said in (
        ("foreign.nc", "is no result of dissect: give what `dissect patch`"),
        ("other.json", "give what `dissect smallest`"),
        ("facts.json", "give what `dissect smallest`"),
    ):
        assert cli.main(["plot", str(tmp_path / name), "--out", str(tmp_path / "x.html")]) == 2
        assert said in one_line(capsys)


def test_smallest_set_and_its_figure(files, capsys):
    asked = ["smallest", *files, "--blocks", "attn,mlp", "--threshold", "0.5", "--out", "found.json"]
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert "SmallestSet:" in out and "saved found.json" in out
    found = SmallestSet.load("found.json")
    assert found.reached and found.n_candidates == 6
    assert cli.main(asked) == 2 and "--out found.json exists" in one_line(capsys)
    assert cli.main([*asked, "--overwrite", "--sequential"]) == 0
    assert SmallestSet.load("found.json") == found
    capsys.readouterr()
    assert cli.main(["plot", "found.json", "--out", "path.html"]) == 0
    capsys.readouterr()
    assert cli.main(["plot", "found.json", "found.json", "--out", "path.html"]) == 2
    assert "is a smallest set, not a sweep, and is drawn alone" in one_line(capsys)
    assert cli.main(["plot", "found.json", "--at", "layer=1", "--out", "path.html"]) == 2
    assert "drawn whole" in one_line(capsys)


def test_a_threshold_that_is_not_reached_is_said(files, capsys):
    asked = ["smallest", *files, "--blocks", "attn,mlp", "--threshold", "0.99", "--max-size", "1"]
    assert cli.main([*asked, "--out", "found.json"]) == 0
    assert "not reached: " in capsys.readouterr().out
    assert cli.main([*asked, "--out", "other.json", "--donor", "unlearned"]) == 2
    assert "are both unlearned" in one_line(capsys)


@pytest.mark.parametrize(
    ("architecture", "outside"),
    [("llama_tied", {"embed", "ln_final", "unembed"}), ("gpt2", {"embed", "pos_embed", "ln_final", "unembed"})],
)
def test_inspect_names_every_block_that_restore_takes(architecture, outside, tiny_pair, capsys):
    assert cli.main(["inspect", str(tiny_pair(architecture)[0]), "-q"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("(outside the layers)")]
    assert {line.split()[0] for line in listed} == outside


def test_drift_map_and_its_figure(files, capsys):
    assert cli.main(["inspect", *files[:2], "--drift", "drift.nc", "-q"]) == 0
    assert "saved drift.nc" in capsys.readouterr().out
    assert "stable_rank" in Drift.load("drift.nc").layers
    assert cli.main(["plot", "drift.nc", "--metric", "moved_4bit", "--out", "drift.html"]) == 0
    assert "share that differ in 4 bits" in Path("drift.html").read_text()
    assert cli.main(["plot", "drift.nc", "--at", "block=mlp.W_out", "--out", "drift.html"]) == 0
    assert "attn.W_Q" not in Path("drift.html").read_text()
    capsys.readouterr()
    for arguments, said in (
        ([*files[:2], "--drift", "drift.nc"], "--drift drift.nc exists"),
        ([*files[:2], "--drift", "drift.csv"], "--drift drift.csv: use a name that ends in .nc"),
        ([files[0], "--drift", "new.nc"], "name UNLEARNED as well"),
    ):
        assert cli.main(["inspect", *arguments]) == 2
        assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--rank", "a"], "--rank 'a': give numbers"),
        (["--t", "0,x"], "--t '0,x': give numbers"),
        (["--neurons", "x"], "--neurons 'x'"),
        (["--blocks", "mlp.W_outt"], "no parameter block 'mlp.W_outt'"),
        (["--scope", "all_but", "--rank", "1"], "leaves out whole blocks"),
        (["--scope", "from_first", "--window", "3"], "--window 3: --scope from_first has no windows"),
        (["--controls", "retrained"], "needs a retrained model"),
    ],
)
def test_mistakes_are_one_line(extra, said, files, capsys):
    assert cli.main(["restore", *files, "--out", "sweep.nc", *extra]) == 2
    assert said in one_line(capsys)
