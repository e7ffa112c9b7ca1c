"""What is supported, what is refused by name, and older spellings of a configuration."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from dissect.errors import DissectError
from dissect.models.families import FAMILIES, supported
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint


def edit_config(path, **changes):
    """Write ``changes`` into ``config.json``; a value of None removes the key."""
    file = path / "config.json"
    config = json.loads(file.read_text()) | changes
    removed = [key for key, value in changes.items() if value is None]
    file.write_text(json.dumps({key: value for key, value in config.items() if key not in removed}))
    return path


def same_logits(path, **settings):
    native = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    model = load(path, progress=False, **settings)
    tokens = torch.randint(2, model.cfg.d_vocab, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), native(tokens).logits, atol=1e-4, rtol=0)


def test_every_architecture_of_the_list_is_there():
    assert set(supported()) == {
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "OlmoForCausalLM",
        "Olmo2ForCausalLM",
        "GPT2LMHeadModel",
        "GPTNeoForCausalLM",
        "GPTNeoXForCausalLM",
        "Phi3ForCausalLM",
        "Gemma2ForCausalLM",
    }
    assert len(FAMILIES) == len(supported())


@pytest.mark.parametrize(
    ("architecture", "settings", "named"),
    [
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"hidden_act": "mish"}, "'mish'"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        (
            "mistral",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
            "'linear' in windowed layers",
        ),
        ("olmo2", {"num_key_value_heads": 2}, "grouped key/value heads in OLMo-2 (2 for 4 query heads)"),
        (
            "phi3",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 32,
                }
            },
            "'longrope'",
        ),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ],
)
def test_a_feature_that_cannot_be_expressed_is_refused_by_name(architecture, settings, named, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tokenizer=False, **settings)
    with pytest.raises(DissectError, match=re.escape(named)) as caught:
        load(path, progress=False)
    assert "supported:" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["BloomForCausalLM"], "model_type": "bloom"}, "BloomForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": None, "model_type": "mamba"}, "'mamba'"),
        ({"architectures": None, "model_type": None}, "None"),
        ({"model_type": "mistral"}, "contradicts itself"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised weights (gptq)"),
        ({"rope_parameters": {"rope_type": "su", "rope_theta": 1e4}}, "'su'"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "3 key/value heads"),
    ],
)
def test_other_configurations_are_refused_by_name(changes, named, tmp_path):
    path = edit_config(make_checkpoint("llama", tmp_path / "model", tokenizer=False), **changes)
    with pytest.raises(DissectError, match=re.escape(named)) as caught:
        load(path, progress=False)
    assert "\n" not in str(caught.value)
    if "architectures" in changes:
        assert all(name in str(caught.value) for name in supported())


def test_architecture_may_be_left_to_the_model_type(tmp_path):
    same_logits(edit_config(make_checkpoint("qwen2", tmp_path / "model"), architectures=None))


def test_remote_code_is_never_asked_for(tmp_path):
    path = make_checkpoint("phi3", tmp_path / "model")
    same_logits(edit_config(path, auto_map={"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"}))


@pytest.mark.parametrize(
    "scaling",
    [
        {"type": "linear", "factor": 3.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "attention_factor": 0.7,
            "beta_fast": 8,
            "beta_slow": 2,
            "truncate": False,
        },
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "mscale": 0.5,
            "mscale_all_dim": 0.8,
        },
    ],
    ids=["linear", "llama3", "yarn", "yarn-settings", "yarn-mscale"],
)
def test_rope_in_the_spelling_of_older_files(scaling, tmp_path):
    """``rope_theta`` and ``rope_scaling``, as transformers wrote them before version 5."""
    path = make_checkpoint("llama", tmp_path / "model", tokenizer=False, hidden_size=64)
    same_logits(edit_config(path, rope_parameters=None, rope_theta=300.0, rope_scaling=scaling))


def test_keys_that_older_files_lack_get_transformers_defaults(tmp_path):
    path = make_checkpoint("llama_ungrouped", tmp_path / "model", tokenizer=False, head_dim=8, rms_norm_eps=1e-6)
    same_logits(edit_config(path, num_key_value_heads=None, head_dim=None, rms_norm_eps=None, rope_parameters=None))


def test_neox_in_the_spelling_of_older_files(tmp_path):
    path = make_checkpoint("neox", tmp_path / "model", tokenizer=False)
    same_logits(edit_config(path, rope_parameters=None, rotary_pct=0.5, rotary_emb_base=700))


def test_a_rotary_embedding_longer_than_its_first_table(tmp_path):
    """TransformerLens starts with a table of 2048 positions and extends it."""
    path = make_checkpoint("llama3_rope", tmp_path / "model", tokenizer=False, max_position_embeddings=4096)
    native = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    model = load(path, progress=False)
    tokens = torch.randint(2, 300, (1, 2100), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens)[:, -5:], native(tokens).logits[:, -5:], atol=5e-3, rtol=0)
