"""The library's own checks on checkpoints: they pass, and they find what is broken."""

import pytest
import torch
from typer.testing import CliRunner

import dissect
from dissect.cli import app
from dissect.evaluation.self_check import CHECKS, self_check
from tests.models.test_adapter import make_adapter
from tests.support.layouts import make_old_olmo, make_whole_gemma3
from tests.support.tiny import make_checkpoint


def passed(path, **settings):
    return {result.name: result.passed for result in self_check(path, progress=False, **settings)}


@pytest.mark.parametrize(
    "architecture", ["llama", "gpt2", "neox", "gemma3", "phi", "gptj", "opt", "olmo3", "phi3_long"]
)
def test_every_check_passes_on_every_kind_of_model(architecture, tmp_path):
    assert passed(make_checkpoint(architecture, tmp_path / "model")) == dict.fromkeys(CHECKS, True)


@pytest.mark.draws  # adapters begin with global random numbers
def test_layouts_adapters_and_files_that_transformers_does_not_read(tmp_path):
    make_old_olmo(tmp_path / "olmo", n_kv_heads=2)
    assert passed(tmp_path / "olmo") == dict.fromkeys(CHECKS, True)
    assert passed(make_whole_gemma3(tmp_path / "gemma")[0]) == dict.fromkeys(CHECKS, True)
    base = make_checkpoint("llama", tmp_path / "base", dtype=torch.bfloat16)
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    assert passed(tmp_path / "adapter") == dict.fromkeys(CHECKS, True)


def test_without_a_tokenizer_what_needs_one_is_skipped(tmp_path):
    found = passed(make_checkpoint("qwen2", tmp_path / "model", tokenizer=False))
    assert found == dict.fromkeys(CHECKS, True) | {"identity patch is 0": None}


def test_a_model_that_computes_something_else_is_found_out(tmp_path, monkeypatch):
    """A swap of keys and values in the map would be undone by saving, but not by transformers."""
    path = make_checkpoint("llama_ungrouped", tmp_path / "model")
    import dissect.evaluation.self_check as module

    def spoiled(*args, **kwargs):
        model = dissect.load(*args, **kwargs)
        for block in model.blocks:
            block.attn.W_K.data, block.attn.W_V.data = block.attn.W_V.data, block.attn.W_K.data
        return model

    monkeypatch.setattr(module, "load", spoiled)
    assert passed(path) == {
        "logits equal transformers'": False,
        "identity patch is 0": True,
        "saved and loaded bit-equal": False,
        "generation equals transformers'": False,
    }


def test_the_command_prints_a_line_each(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model")
    done = CliRunner().invoke(app, ["inspect", str(path), "--check", "--device", "cpu", "-q"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == len(CHECKS) and all(line.startswith("ok ") for line in lines)
