"""One optimiser step of every architecture, saved as Hugging Face files, against transformers and torch alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

import dissect
from tests.support.layouts import make_old_olmo, make_whole_gemma3, old_olmo_tensors
from tests.support.tiny import ARCHITECTURES, make_checkpoint
from tests.unlearning.test_training_step import RETAINED

SETTINGS = {"lr": 1e-2, "weight_decay": 0.1}
EXACT = 1e-6
"""transformers takes angles and some norms in float32 also where the model is in float64."""


def mean_nll(model: nn.Module, prompts: dissect.Prompts) -> torch.Tensor:
    """Without a mask: texts are filled up on the right, where causal attention never looks back from."""
    logits, labels = model(prompts.tokens).logits[:, :-1].double(), prompts.labels[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def checkpoint(architecture: str, path: Path) -> nn.Module:
    """Write a tiny checkpoint; returns transformers' own model of it."""
    if architecture == "old_olmo":
        return make_old_olmo(path, clip_qkv=0.5, n_kv_heads=2)
    if architecture == "whole_gemma3":
        return make_whole_gemma3(path)[1]
    make_checkpoint(architecture, path)
    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")


def in_files(architecture: str, native: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of transformers' model as it saves them, or as the authors of the layout did."""
    if architecture == "old_olmo":
        return old_olmo_tensors(native)
    native.save_pretrained(path)
    return stored(path)


def stored(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in path.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "old_olmo", "whole_gemma3"])
def test_a_step_is_that_of_transformers(
    architecture: str, facts: dissect.Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With a large epsilon, so that the step is not the sign of rounding errors where a gradient is zero."""
    optimizers: Any = partial(torch.optim.AdamW, eps=1e-2)
    monkeypatch.setattr(torch.optim, "AdamW", optimizers)
    native = checkpoint(architecture, tmp_path / "model").double().eval()
    model = dissect.load(tmp_path / "model", dtype="float64", device="cpu", progress=False)
    forget, retain = facts.prompts(model), dissect.Facts(RETAINED).prompts(model)
    before = stored(tmp_path / "model")

    run = dissect.unlearn(
        model,
        forget=forget,
        retain=retain,
        method="grad_diff",
        epochs=1,
        out=tmp_path / "out",
        progress=False,
        **SETTINGS,
    )
    trained = {name: p for name, p in native.named_parameters() if not name.startswith(("model.vision", "model.multi"))}
    loss = mean_nll(native, retain) - mean_nll(native, forget)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(trained.values(), 1.0)
    optimizers(trained.values(), **SETTINGS).step()

    assert run.records[0]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert run.records[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    saved, expected = stored(tmp_path / "out"), in_files(architecture, native, tmp_path / "hf")
    assert saved.keys() == expected.keys() == before.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(saved[name].double(), tensor.double(), rtol=0, atol=EXACT, msg=name)
    moved = [name for name in before if float((before[name].double() - saved[name].double()).abs().max()) > 100 * EXACT]
    assert {name for name in before if "vision" not in name and "multi_modal" not in name} == set(moved)
