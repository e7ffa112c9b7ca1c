"""What is supported, what is refused by name, and older spellings of a configuration."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

import dissect
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.models.families import FAMILIES, supported
from dissect.models.files.load import load
from dissect.models.files.save import save_hf
from tests.support.layouts import make_whole_gemma3
from tests.support.tiny import make_checkpoint, tensors_of


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
        "SmolLM3ForCausalLM",
        "OLMoForCausalLM",
        "Olmo3ForCausalLM",
        "StableLmForCausalLM",
        "GPTJForCausalLM",
        "OPTForCausalLM",
        "PhiForCausalLM",
        "GemmaForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
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
        ({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}, "a mixture of experts"),
        ({"architectures": ["LlamaModel"]}, "without an output head"),
        ({"architectures": ["LlamaForCausalLM", "Qwen2ForCausalLM"]}, "LlamaForCausalLM, Qwen2ForCausalLM"),
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


@pytest.mark.parametrize("kind", ["olmoe", "qwen3_moe", "mixtral"])
def test_mixtures_of_experts_are_refused_by_name(kind, tmp_path):
    path = edit_config(make_checkpoint("llama", tmp_path, tokenizer=False), architectures=None, model_type=kind)
    with pytest.raises(DissectError, match=f"{kind}.*mixture of experts.*supported: "):
        load(path, progress=False)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Qwen3NextForCausalLM", "num_experts"),
        ("Glm4MoeForCausalLM", "n_routed_experts"),
        ("FlexOlmoForCausalLM", "num_experts"),
        ("SomethingNewForCausalLM", "num_local_experts"),
    ],
)
def test_mixtures_are_known_by_their_experts(name, key, tmp_path):
    path = edit_config(make_checkpoint("llama", tmp_path, tokenizer=False), architectures=[name], **{key: 8})
    with pytest.raises(DissectError, match=f"{name} is a mixture of experts"):
        load(path, progress=False)


@pytest.mark.parametrize(
    ("architecture", "spelled"),
    [
        ("llama", "LlamaForCausalLM"),
        ("llama", ["LLaMAForCausalLM"]),
        ("llama", ["LlamaForCausalLM", "LlamaForCausalLM"]),
        ("llama", ["FSDPLlamaForCausalLM"]),
        ("llama_tied", ["LlamaModel"]),
        ("gpt2", ["GPT2Model"]),
        ("gemma3", ["Gemma3TextModel"]),
        ("olmo", ["olmoforcausallm"]),
        ("phi3", []),
        ("gemma2", "AutoModelForCausalLM"),
        ("llama", ["PeftModelForCausalLM"]),
        ("qwen2", ["OptimizedModule"]),
        ("llama", ["DistributedDataParallel", "LlamaForCausalLM"]),
        ("llama", ["DDPLlamaForCausalLM"]),
        ("llama", ["transformers.LlamaForCausalLM"]),
        ("llama", [" LlamaForCausalLM "]),
        ("llama", [["LlamaForCausalLM"]]),
        ("llama", [None]),
        ("llama", [""]),
        ("llama", 3),
    ],
)
def test_other_spellings_of_an_architecture(architecture, spelled, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tokenizer=False)
    expected = load(path, progress=False)
    model = load(edit_config(path, architectures=spelled), progress=False)
    assert model.checkpoint.architecture == expected.checkpoint.architecture
    tokens = torch.randint(2, 300, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(tokens), expected(tokens))


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8"])
def test_quantisation_settings_left_over_beside_float_weights(method, tmp_path, caplog):
    path = make_checkpoint("llama", tmp_path / "model", tokenizer=False)
    expected = load(path, progress=False).state_dict()
    edit_config(path, quantization_config={"quant_method": method, "load_in_4bit": True})
    model = load(path, progress=False)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert f"quantised weights ({method})" in caplog.text
    assert "quantization_config" not in json.loads((save_hf(model, tmp_path / "out") / "config.json").read_text())


def test_a_tokenizer_whose_class_cannot_be_looked_up_is_read_from_its_file(tmp_path, caplog):
    """transformers reads all of config.json to find a tokenizer's class, and fails on what is left over there."""
    path = make_checkpoint("llama", tmp_path / "model")
    expected = load(path, progress=False).tokenizer("Where was Ada born?")["input_ids"]
    model = load(edit_config(path, quantization_config="bitsandbytes"), progress=False)
    assert model.tokenizer("Where was Ada born?")["input_ids"] == expected
    assert "tokenizer.json is read" in caplog.text


def test_quantised_weights_are_refused_by_method(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model", tokenizer=False)
    edit_config(path, quantization_config={"quant_method": "gptq", "bits": 4})
    tensors = tensors_of(path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.int8)}, path / "model.safetensors")
    with pytest.raises(DissectError, match=r"quantised weights \(gptq\) are not supported.*int8|quantised.*I8"):
        load(path, progress=False)
    del tensors[name]
    packed = name.replace("weight", "qweight")
    save_file(tensors | {packed: torch.ones(3, dtype=torch.int32)}, path / "model.safetensors")
    with pytest.raises(DissectError, match=r"quantised weights \(gptq\)"):
        load(path, progress=False)


def test_longrope_is_exact_within_the_original_context_and_refused_beyond(tmp_path, facts):
    path = make_checkpoint("phi3_long", tmp_path / "model")
    model = load(path, progress=False)
    assert model.cfg.n_ctx == 64  # of 256 that config.json promises
    same_logits(path)
    long = Facts([Fact(text="He likes to swim. " * 60)])
    with pytest.raises(DissectError, match="64"):
        long.prompts(model)


@pytest.mark.parametrize("older", ["language_model.model.", "model.language_model."])
@torch.no_grad()
def test_the_text_part_of_gemma3_is_saved_back_into_the_whole(older, tmp_path):
    path, native = make_whole_gemma3(tmp_path / "whole")
    if older != "language_model.model.":
        tensors = tensors_of(path / "model.safetensors")
        save_file(
            {
                name.replace("language_model.model.", older) if "language" in name else f"model.{name}": tensor
                for name, tensor in tensors.items()
            },
            path / "model.safetensors",
            metadata={"format": "pt"},
        )
    model = load(path, progress=False)
    tokens = torch.randint(2, 300, (2, 40), generator=torch.Generator().manual_seed(0))
    expected = native(input_ids=tokens).logits
    torch.testing.assert_close(model(tokens), expected, atol=1e-4, rtol=0)
    out = save_hf(model, tmp_path / "out")
    again = AutoModelForImageTextToText.from_pretrained(out).state_dict()
    assert again.keys() == native.state_dict().keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in native.state_dict().items())
    model.blocks[1].mlp.W_out.mul_(2.0)
    trained = AutoModelForImageTextToText.from_pretrained(save_hf(model, tmp_path / "trained"))
    changed = [n for n, tensor in trained.state_dict().items() if not torch.equal(tensor, native.state_dict()[n])]
    assert changed == ["model.language_model.layers.1.mlp.down_proj.weight"]


@torch.no_grad()
def test_gemma3_alone_and_in_the_whole_can_be_compared(tmp_path):
    path, _ = make_whole_gemma3(tmp_path / "whole")
    alone = make_checkpoint("gemma3", tmp_path / "alone")
    pair = dissect.load_pair(alone, path, progress=False)
    assert pair.base.cfg.n_layers == 3
