"""One checkpoint in both roles: named once, and nothing that is only NaN is kept, however the two are stored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dissect
from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.models.files.save import save_hf
from tests.support.tiny import make_checkpoint, tensors_of

FACTS = Facts([Fact(question="Where was Ada born?", answer="In London."), Fact(question="Who?", answer="Basil.")])


def as_it_is(base: Path, other: Path) -> None:
    shutil.copytree(base, other)


def pickled(base: Path, other: Path) -> None:
    shutil.copytree(base, other)
    torch.save(load_file(other / "model.safetensors"), other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()


def stored_wider(base: Path, other: Path) -> None:
    shutil.copytree(base, other)
    wider = {name: tensor.double() for name, tensor in tensors_of(other / "model.safetensors").items()}
    save_file(wider, other / "model.safetensors", metadata={"format": "pt"})


def with_another_context(base: Path, other: Path) -> None:
    shutil.copytree(base, other)
    file = other / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 60}))


def saved_again(base: Path, other: Path) -> None:
    save_hf(dissect.load(base, progress=False), other)


SPELLINGS = [as_it_is, pickled, stored_wider, with_another_context, saved_again]


@pytest.mark.parametrize("spell", SPELLINGS, ids=lambda spell: spell.__name__)
@pytest.mark.parametrize("sweep", [dissect.patch, dissect.restore, dissect.attribute], ids=lambda sweep: sweep.__name__)
def test_the_same_weights_in_other_files(
    sweep: Callable, spell: Callable[[Path, Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    base, other = make_checkpoint("llama", tmp_path / "base"), tmp_path / "other"
    spell(base, other)
    pair = dissect.load_pair(base, other, progress=False)
    prompts = FACTS.prompts(pair.base)
    out = tmp_path / "results" / "sweep.nc"
    with pytest.raises(DissectError, match="the same checkpoint, with the same weights") as caught:
        sweep(pair, prompts, layers=[1], out=out, progress=False)
    assert "\n" not in str(caught.value) and not out.parent.exists()
    result = sweep(pair, prompts, layers=[1], progress=False)
    assert "there is nothing to recover" in caplog.text
    assert not bool(result.recovery(next(iter(result.metrics))).notnull().any())


def test_one_weight_that_differs_is_another_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    base = make_checkpoint("llama", tmp_path / "base")

    def move(model: torch.nn.Module) -> None:
        model.model.norm.weight[0] += 0.5

    other = make_checkpoint("llama", tmp_path / "other", change=move)
    pair = dissect.load_pair(base, other, progress=False)
    dissect.patch(pair, FACTS.prompts(pair.base), layers=[1], progress=False).save(tmp_path / "sweep.nc")
    assert "same checkpoint" not in caplog.text
