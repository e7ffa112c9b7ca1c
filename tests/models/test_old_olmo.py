"""OLMo in its authors' own layout: the same model as transformers' OLMo on renamed tensors, and back."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import dissect
from dissect.errors import DissectError
from dissect.models.families import find_family, transformers_config
from dissect.models.files.load import load
from dissect.models.files.save import hf_tensors, save_hf
from tests.models.test_load import right_padded
from tests.support.layouts import OLD_OLMO, make_old_olmo, read_old_olmo
from tests.support.tiny import make_checkpoint

VARIANTS = {
    "plain": {},
    "tied": {"weight_tying": True},
    "clipped": {"clip_qkv": 0.5},
    "ratio": {"mlp_hidden_size": None},
    "grouped": {"n_kv_heads": 2},
    "one key": {"multi_query_attention": True, "weight_tying": True},
    "older type": {"model_type": "olmo"},
    "no architecture": {"architectures": None},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("binary", [False, True], ids=["safetensors", "pickled"])
@torch.no_grad()
def test_logits_are_those_of_transformers_and_files_come_back(variant, binary, tmp_path):
    path = tmp_path / "llama-gemma-gpt2"
    native = make_old_olmo(path, binary=binary, **VARIANTS[variant])
    model = load(path, progress=False)
    tokens, mask = right_padded(model.cfg.d_vocab)
    expected = native(tokens, attention_mask=mask.long()).logits
    torch.testing.assert_close(model(tokens)[mask], expected[mask], atol=1e-4, rtol=0)
    out = save_hf(model, tmp_path / "out")
    stored = torch.load(path / "pytorch_model.bin") if binary else load_file(path / "model.safetensors")
    again = load_file(out / "model.safetensors")
    assert again.keys() == stored.keys() == dict(hf_tensors(model)).keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["OLMoForCausalLM"]
    kept = {key: value for key, value in config.items() if key in OLD_OLMO and key != "architectures"}
    expected_config = {key: value for key, value in (OLD_OLMO | VARIANTS[variant]).items() if key in kept}
    assert kept == expected_config
    torch.testing.assert_close(read_old_olmo(out)(tokens).logits[mask], expected[mask], atol=1e-5, rtol=0)


def test_both_layouts_can_be_compared(tmp_path, facts):
    """The paper's base is published in transformers' layout, its unlearned models in the older one."""
    native = make_old_olmo(tmp_path / "unlearned", seed=1)
    base = make_checkpoint("olmo", tmp_path / "base", clip_qkv=None)
    with torch.no_grad():
        native.save_pretrained(tmp_path / "renamed")
    pair = dissect.load_pair(base, tmp_path / "unlearned", progress=False)
    same = dissect.load_pair(tmp_path / "renamed", tmp_path / "unlearned", progress=False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(
        dict(sorted(same.base.named_parameters())).values(),
        dict(sorted(same.unlearned.named_parameters())).values(), strict=True))  # fmt: skip
    prompts = facts.prompts(pair.tokenizer)
    swept = dissect.patch(pair, prompts, ["mlp_post", "attn_out"], window=1, progress=False)
    other = dissect.load_pair(base, tmp_path / "renamed", progress=False)
    expected = dissect.patch(other, prompts, ["mlp_post", "attn_out"], window=1, progress=False)
    np.testing.assert_array_equal(swept.values("krs").values, expected.values("krs").values)
    with dissect.restored(pair.unlearned, base, blocks=["mlp.W_out"], layers=[1]):
        assert torch.equal(pair.unlearned.blocks[1].mlp.W_out, pair.base.blocks[1].mlp.W_out)
    fixed = dissect.transplant(pair, blocks=["mlp"], layers=[1])
    out = load_file(save_hf(fixed, tmp_path / "fixed") / "model.safetensors")
    down = load_file(base / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(out["model.transformer.blocks.1.ff_out.weight"], down)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"alibi": True}, "alibi = True"),
        ({"rope": False}, "rope = False"),
        ({"layer_norm_type": "rms"}, "layer_norm_type = 'rms'"),
        ({"activation_type": "gelu"}, "activation_type = 'gelu'"),
        ({"block_type": "llama"}, "block_type = 'llama'"),
        ({"include_bias": True}, "include_bias = True"),
        ({"scale_logits": True}, "scale_logits = True"),
        ({"norm_after": True}, "norm_after = True"),
        ({"attention_layer_norm": True}, "attention_layer_norm = True"),
        ({"residual_scale": 0.5}, "residual_scale = 0.5"),
    ],
)
def test_what_transformers_olmo_does_not_compute_is_refused(changes, named, tmp_path):
    make_old_olmo(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(OLD_OLMO | changes))
    with pytest.raises(DissectError, match=re.escape(named)) as caught:
        load(tmp_path / "model", progress=False)
    assert "supported:" in str(caught.value)


def test_the_tokenizer_class_of_the_authors_code_is_not_run(tmp_path):
    make_old_olmo(tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    evil = {
        "tokenizer_class": "OLMoTokenizer",
        "auto_map": {"AutoTokenizer": ["x.OLMoTokenizer", "x.OLMoTokenizerFast"]},
    }
    file.write_text(json.dumps(settings | evil))
    model = load(tmp_path / "model", progress=False)
    plain = make_checkpoint("olmo", tmp_path / "plain")
    assert model.tokenizer("Ada lives")["input_ids"] == load(plain, progress=False).tokenizer("Ada lives")["input_ids"]


def test_the_shipped_config_of_the_seed_paper_names_both_layouts():
    """Its forty checkpoints are two models' sizes; the keys of the published files give each its own shape."""
    text = (Path(dissect.__file__).parent / "reproductions/configs/dissecting-ft.yaml").read_text()
    assert yaml.safe_load(text)["models"]["OLMo-7B"]["base"] == "allenai/OLMo-7B-hf"
    big = {"d_model": 4096, "n_heads": 32, "n_layers": 32, "mlp_hidden_size": 22016, "embedding_size": 50304}
    config = OLD_OLMO | big | {"vocab_size": 50280, "max_sequence_length": 2048}
    native = transformers_config(find_family(config), config)
    assert (native.hidden_size, native.intermediate_size, native.vocab_size) == (4096, 11008, 50304)
