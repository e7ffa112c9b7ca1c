"""Files that hold code are refused in the tool's own words, which advise nobody to switch the protection off."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from dissect.errors import DissectError
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint


class Malicious:
    """Makes a file when it is unpickled, unless nothing is run."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


@pytest.fixture
def llama(tmp_path):
    return make_checkpoint("llama", tmp_path / "model")


ADVICE = ("weights_only", "trust_remote_code", "torch.load", "pickle protocol")
"""How libraries say that their protection may be switched off."""


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_with_code_are_refused_in_our_own_words(llama, tmp_path, zipped, recwarn):
    (llama / "model.safetensors").unlink()
    file = llama / "pytorch_model.bin"
    if zipped:
        torch.save({"a": Malicious(tmp_path / "ran")}, file)
    else:
        file.write_bytes(pickle.dumps({"a": Malicious(tmp_path / "ran")}))
    with pytest.raises(DissectError, match="more than tensors") as raised:
        load(llama, progress=False)
    said = str(raised.value) + "".join(str(warning.message) for warning in recwarn)
    assert "as safetensors" in said and not any(words in said for words in ADVICE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), b"(lp0\n", bytes(64)]
)
def test_damaged_pickles_are_one_line_without_advice(llama, content):
    (llama / "model.safetensors").unlink()
    (llama / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(DissectError) as raised:
        load(llama, progress=False)
    assert not any(words in str(raised.value) for words in ADVICE) and "\n" not in str(raised.value)


def test_a_tokenizer_of_code_is_refused_in_our_own_words(llama):
    (llama / "tokenizer.json").unlink()
    (llama / "vocab.json").write_text('{"a": 0}')
    settings = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (llama / "tokenizer_config.json").write_text(json.dumps(settings))
    (llama / "own.py").write_text("raise SystemExit('code of a checkpoint ran')")
    with pytest.raises(DissectError, match="comes with code, which is not run") as raised:
        load(llama, progress=False)
    assert not any(words in str(raised.value) for words in ADVICE)
