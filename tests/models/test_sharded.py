"""Models sharded over ranks give what one process gives: sweeps to the bit, training to rounding."""

import shutil
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dissect
from dissect.distributed import World, mesh, seconds_to_wait, started, world
from dissect.errors import DissectError
from tests.support import sharded_jobs as jobs
from tests.support.ranks import needs_sharding, run_ranks, start_ranks
from tests.support.tiny import tensors_of

pytestmark = needs_sharding


def _same(ours: Any, theirs: Any, what: str = "") -> None:
    """Equal to the bit, and as many of them."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), what
        for key in ours:
            _same(ours[key], theirs[key], f"{what} {key}")
        return
    assert ours.dtype == theirs.dtype and torch.equal(ours.nan_to_num(1e9), theirs.nan_to_num(1e9)), what


@pytest.mark.parametrize(("architecture", "ranks"), [("llama", 2), ("llama_tied", 4), ("neox", 3)])
def test_sweeps_caches_and_restoration_are_those_of_one_process(tiny_pair, architecture, ranks):
    pair = tiny_pair(architecture)
    alone = jobs.measure(*pair, False)
    fingerprint = dissect.load(pair[0], progress=False).checkpoint.fingerprint
    plain = dissect.load(pair[0], progress=False)
    frozen = sorted(name for name, parameter in plain.named_parameters() if not parameter.requires_grad)
    shares = []
    for found in run_ranks(ranks, jobs.measure, *pair, True):
        held, total, said, constants = found.pop("held")
        if architecture == "neox":  # not every product of TransformerLens's own is blind to the order in memory
            torch.testing.assert_close(found.pop("cache"), alone["cache"], rtol=1e-5, atol=1e-6)
            _same(found, {name: value for name, value in alone.items() if name != "cache"})
        else:
            _same(found, alone)
        shares.append(held)
        assert (said, constants) == (fingerprint, frozen)
    assert sum(shares) == total
    if ranks != 3:  # tiny widths divide by 2 and 4
        assert max(shares) == total // ranks


@pytest.mark.parametrize(("ranks", "replicate"), [(2, 1), (4, 2)])
def test_three_steps_are_those_of_one_process(tiny_pair, ranks, replicate):
    """Also where a rank has no text of a step.

    In float64 what is left of a difference is rounding; in float32 AdamW turns that of a gradient near its epsilon into
    a part of its step.
    """
    base = tiny_pair("llama")[0]
    for dtype, close in (("float32", 1e-6), ("float64", 1e-11)):
        alone = jobs.train_all(base, dtype)
        for found in run_ranks(ranks, jobs.train_all, base, dtype, replicate):
            for name, (losses, parameters) in alone.items():
                assert len(losses) == 3
                torch.testing.assert_close(found[name][0], losses, rtol=close, atol=close)
                torch.testing.assert_close(found[name][1], parameters, rtol=0, atol=close)


@pytest.fixture(scope="module")
def killed(tiny_pair, tmp_path_factory) -> dict[str, Any]:
    """A run whose second rank died after two of three steps."""
    base, out = tiny_pair("llama_tied")[0], tmp_path_factory.mktemp("killed") / "forgot"
    began = time.monotonic()
    ended = start_ranks(2, jobs.killed_train, base, out, wait=15.0)
    return {"base": base, "out": out, "ended": ended, "seconds": time.monotonic() - began}


def test_a_dead_rank_ends_the_job(killed):
    (status, said), died = killed["ended"]
    assert status == "raised" and died == ("died", 9)
    assert "DissectError: rank 0 of 2 lost another rank" in said
    assert killed["seconds"] < 300
    assert not killed["out"].exists()


def test_a_hanging_rank_is_not_waited_for():
    (status, said), _ = start_ranks(2, jobs.hang, 12.0, wait=4.0)
    assert status == "raised"
    assert "DissectError: rank 0 of 2 lost another rank, which died or did not answer for 4 s" in said


def test_a_killed_run_ends_as_an_unbroken_one(killed, tmp_path):
    base = killed["base"]
    unbroken = run_ranks(2, jobs.run_train, base, 1, tmp_path / "unbroken")
    copies = {}
    for name in ("again", "four", "one"):
        copies[name] = tmp_path / name
        shutil.copytree(killed["out"].with_name("forgot.partial"), tmp_path / f"{name}.partial")
    found = {
        "again": run_ranks(2, jobs.run_train, base, 1, copies["again"])[0],
        "four": run_ranks(4, jobs.run_train, base, 2, copies["four"])[0],
        "one": jobs.run_train(base, 0, copies["one"]),
    }
    losses, parameters = unbroken[0]
    _same(unbroken[1][1], parameters)
    _same(found["again"][1], parameters)
    assert found["again"][0] == losses
    for name in ("four", "one"):
        assert len(found[name][0]) == 3
        assert found[name][0][:1] == losses[:1]  # from the log: the first steps were not made again
        torch.testing.assert_close(found[name][1], parameters, rtol=0, atol=1e-6)
    for name, out in (("unbroken", tmp_path / "unbroken"), *copies.items()):
        assert not out.with_name(f"{name}.partial").exists()
        saved = dissect.load(out, progress=False)
        torch.testing.assert_close(dict(saved.named_parameters()), parameters, rtol=0, atol=1e-6 * (name != "again"))
    assert jobs.fingerprint(copies["again"]) == jobs.fingerprint(tmp_path / "unbroken")


def test_shards_in_float32_run_in_bfloat16(tiny_pair, tmp_path):
    base = tiny_pair("llama")[0]
    plain = dissect.load(base, dtype="bfloat16", progress=False)
    logits = jobs._logits(plain, jobs.FACTS.prompts(plain).tokens)
    losses = dissect.unlearn(plain, forget=jobs.FACTS, method="npo", epochs=1, lr=1e-4, progress=False).records
    out = tmp_path / "bf16"
    for ours, found, formats in run_ranks(2, jobs.compute_in_bfloat16, base, out):
        assert torch.equal(ours, logits)
        assert set(formats) == {"torch.float32"}
        torch.testing.assert_close(found, torch.tensor([record["loss"] for record in losses]), rtol=1e-2, atol=0)
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float32}


def test_copies_of_a_sharded_model_share_a_sweep(tiny_pair, tmp_path):
    pair = tiny_pair("llama")
    alone = jobs.sweep(dissect.load_pair(*pair, progress=False))
    found = run_ranks(4, jobs.share_sweep, *pair, tmp_path / "sweep.nc")
    for result, _ in found:
        _same(result, alone)
    did = [set(computed) for _, computed in found]
    assert did[0] == did[1] and did[2] == did[3]  # the ranks of one copy
    assert did[0] and did[2] and not did[0] & did[2]
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.nc"]


def test_damage_that_one_rank_sees_is_told_to_all(tiny_pair, tmp_path):
    path = tmp_path / "damaged"
    shutil.copytree(tiny_pair("llama")[0], path)
    tensors = tensors_of(path / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][:, -1] = torch.nan  # in the last rank's part alone
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    for said in run_ranks(2, jobs.load_damaged, path):
        assert "model.layers.1.mlp.down_proj.weight holds NaN" in said


_ALONE = """
import sys
import torch, transformer_lens, transformers
def refuse(*_, **__): raise AssertionError("a process group in a single process")
torch.distributed.init_process_group = torch.distributed.fsdp.fully_shard = refuse
before = set(sys.modules)
import dissect
pair = dissect.load_pair(sys.argv[1], sys.argv[2], progress=False)
facts = dissect.Facts([dissect.Fact(question="Does Lily swim?", answer="Yes, Lily likes to swim.")])
prompts = facts.prompts(pair.tokenizer)
dissect.patch(pair, prompts, components=["mlp_post"], out=sys.argv[3] + ".nc", progress=False)
dissect.restore(pair, prompts, blocks=["mlp.W_out"], progress=False)
dissect.unlearn(pair.unlearned, forget=prompts, method="npo", epochs=1, out=sys.argv[3], progress=False)
print([name for name in set(sys.modules) - before if name.startswith("torch.distributed")])
"""


def test_one_process_touches_no_group(tiny_pair, tmp_path):
    """Torch, transformers and TransformerLens import parts of ``torch.distributed`` themselves; dissect adds none."""
    arguments = [sys.executable, "-c", _ALONE, *map(str, tiny_pair("llama")), str(tmp_path / "out")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"


def test_ranks_come_from_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "DISSECT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    assert world() == World(0, 1, 0)
    with started() as here:
        assert here.size == 1 and not torch.distributed.is_initialized()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(DissectError, match="RANK is not set"):
        world()
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(DissectError, match="RANK is 4 of WORLD_SIZE 4"):
        world()
    monkeypatch.setenv("RANK", "3")
    assert world() == World(3, 4, 3)
    assert seconds_to_wait() == 600
    monkeypatch.setenv("DISSECT_TIMEOUT", "soon")
    with pytest.raises(DissectError, match="DISSECT_TIMEOUT='soon'"):
        seconds_to_wait()


def test_what_a_mesh_does_not_go_with(tiny_pair):
    base, unlearned = tiny_pair("llama")
    with pytest.raises(DissectError, match="no DeviceMesh"):
        dissect.load(base, mesh=2)
    with pytest.raises(DissectError, match="several processes that are connected"):
        mesh()
    with pytest.raises(DissectError, match="compute_dtype is for sharded"):
        dissect.load(base, compute_dtype="bfloat16")
    with pytest.raises(DissectError, match="one model at a time"):
        dissect.load_pair(base, unlearned, mesh=2, sequential=True)
