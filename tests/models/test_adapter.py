"""LoRA adapters: merged while loading, equal to what peft merges."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.files.save import hf_tensors, save_hf
from tests.support.tiny import make_checkpoint, make_tokenizer

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.draws  # peft's adapters begin with global random numbers

VARIANTS = {
    "llama": ("llama", {"target_modules": ["q_proj", "v_proj", "down_proj"]}),
    "all-linear": ("mistral", {"target_modules": "all-linear"}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "lm_head", "o_proj"]}),
    "whole-modules": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}),
    "rslora": ("qwen2", {"target_modules": ["k_proj", "up_proj"], "use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "k_proj", "gate_proj"],
            "rank_pattern": {"k_proj": 2, "layers.1.self_attn.q_proj": 6},
            "alpha_pattern": {r"layers\.[02]\.mlp\.gate_proj": 3},
        },
    ),
    "some-layers": ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
    "gpt2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"]}),
    "neox": ("neox", {"target_modules": ["query_key_value", "dense"]}),
    "phi3": ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "gemma2": ("gemma2", {"target_modules": ["q_proj", "up_proj"]}),
}


def make_adapter(base, directory, *, dtype=torch.float32, merge=True, **settings):
    """A random adapter on ``base``, saved by peft; returns the tensors of peft's own merged model."""
    native = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    model = peft.get_peft_model(native, peft.LoraConfig(r=4, lora_alpha=10, task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.save_pretrained(directory)
    return model.merge_and_unload().state_dict() if merge else {}


@pytest.mark.parametrize("variant", VARIANTS)
def test_merged_weights_equal_pefts(variant, tmp_path):
    architecture, settings = VARIANTS[variant]
    base = make_checkpoint(architecture, tmp_path / "base")
    merged = make_adapter(base, tmp_path / "adapter", **settings)
    model = load(tmp_path / "adapter", progress=False)
    plain = dict(hf_tensors(load(base, progress=False)))
    changed = 0
    if "embed_out.weight" in plain:
        merged["embed_out.weight"] = merged.pop("lm_head.weight")  # one name in files, another in memory
    for name, tensor in hf_tensors(model):
        torch.testing.assert_close(tensor, merged[name], atol=1e-6, rtol=1e-5)
        changed += not torch.equal(tensor, plain[name])
    assert changed > 0
    assert model.checkpoint.adapter == tmp_path / "adapter"
    assert model.checkpoint.fingerprint != load(base, progress=False).checkpoint.fingerprint
    again = dict(hf_tensors(load(save_hf(model, tmp_path / "merged"), progress=False)))
    for name, tensor in hf_tensors(model):
        assert torch.equal(again[name], tensor)


def test_half_precision_is_rounded_once(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base", dtype=torch.bfloat16)
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    exact = dict(hf_tensors(load(tmp_path / "adapter", progress=False)))
    model = load(tmp_path / "adapter", dtype="auto", progress=False)
    assert model.checkpoint.dtype == "bfloat16"
    for name, tensor in hf_tensors(model):
        assert torch.equal(tensor, exact[name].bfloat16())


def test_base_can_be_given(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    expected = load(tmp_path / "adapter", progress=False).checkpoint
    base.rename(tmp_path / "moved")
    with pytest.raises(DissectError, match="give it with base="):
        load(tmp_path / "adapter", progress=False)
    found = load(tmp_path / "adapter", base=tmp_path / "moved", progress=False).checkpoint
    assert found.fingerprint == expected.fingerprint
    assert found.path == tmp_path / "moved"


def test_tokenizer_of_the_adapter_comes_first(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    assert load(tmp_path / "adapter", progress=False).tokenizer("a")["input_ids"][0] == 0
    make_tokenizer(bos=False).save_pretrained(tmp_path / "adapter")
    assert load(tmp_path / "adapter", progress=False).tokenizer("a")["input_ids"][0] != 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"init_lora_weights": "pissa"}, "'pissa'"),
        ({"lora_bias": True}, "lora_bias"),
    ],
)
def test_more_than_plain_lora_is_refused_by_name(settings, named, tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], merge=False, **settings)
    with pytest.raises(DissectError, match=re.escape(named)):
        load(tmp_path / "adapter", progress=False)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"invented_in_2031": 3}, "invented_in_2031"),
        ({"r": 3}, "rank 4, adapter_config.json says 3"),
        ({"base_model_name_or_path": None}, "records no base model"),
    ],
)
def test_configurations_that_do_not_fit(changes, named, tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(DissectError, match=re.escape(named)):
        load(tmp_path / "adapter", progress=False)


def test_a_base_that_does_not_fit(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    for other, settings in (("gpt2", {}), ("llama", {"hidden_size": 64})):
        wrong = make_checkpoint(other, tmp_path / f"wrong-{other}", **settings)
        with pytest.raises(DissectError, match="wrong base model"):
            load(tmp_path / "adapter", base=wrong, progress=False)


def test_an_adapter_on_a_tied_embedding_is_refused(tmp_path):
    base = make_checkpoint("llama_tied", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens"])
    with pytest.raises(DissectError, match="tied"):
        load(tmp_path / "adapter", progress=False)
