"""LoRA adapters: merged while loading, equal to what peft merges."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import dissect
from dissect.cli import app
from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.files.save import hf_tensors, save_hf
from tests.support.tiny import make_checkpoint, make_tokenizer, tensors_of

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
    if "embed_out.weight" in plain and "lm_head.weight" in merged:
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


def rewritten(directory, change):
    """Change the mapping of names to tensors in the adapter's file."""
    file = directory / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor.clone() for name, tensor in change(tensors).items()}, file)
    return directory


def merged_weights(path, **settings):
    return dict(hf_tensors(load(path, progress=False, **settings)))


def same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def adapter(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head"])
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name.replace("lora_A.weight", "lora_A.default.weight"),
        lambda name: name.replace(".weight", ".other.weight") if "lora_" in name else name,
        lambda name: name.replace("lm_head.weight", "lm_head.modules_to_save.weight"),
        lambda name: name.replace("lm_head.weight", "lm_head.modules_to_save.default.weight"),
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.replace("base_model.model.model.", "base_model.model."),
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"policy.{name}",
        lambda name: name.replace("base_model.model.", "base_model.model.base_model.model.", 1),
        lambda name: name.replace("layers.", "layers._fsdp_wrapped_module."),
        lambda name: name.replace("self_attn", "_checkpoint_wrapped_module.self_attn"),
        lambda name: name.replace("lora_A.weight", "lora_A").replace("lora_B.weight", "lora_B"),
    ],
)
def test_other_spellings_of_the_same_tensors(spelling, adapter):
    expected = merged_weights(adapter)
    rewritten(adapter, lambda tensors: {spelling(name): tensor for name, tensor in tensors.items()})
    same(merged_weights(adapter), expected)


def test_the_original_beside_a_saved_module_must_be_the_bases(adapter, tmp_path):
    expected = merged_weights(adapter)
    own = load_file(tmp_path / "base" / "model.safetensors")["lm_head.weight"]
    name = "base_model.model.lm_head.original_module.weight"
    rewritten(adapter, lambda tensors: tensors | {name: own})
    same(merged_weights(adapter), expected)
    rewritten(adapter, lambda tensors: tensors | {name: own + 1})
    with pytest.raises(DissectError, match=r"original_module\.weight is not the weight of the base: wrong base model"):
        load(adapter, progress=False)


def test_an_adapter_is_no_base(adapter, tmp_path):
    file = adapter / "adapter_config.json"
    for base in (adapter, shutil.copytree(adapter, tmp_path / "below")):
        with pytest.raises(DissectError, match="which is an adapter itself"):
            load(adapter, base=base, progress=False)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
        with pytest.raises(DissectError, match="which is an adapter itself"):
            load(adapter, progress=False)
        with pytest.raises(DissectError, match="which is an adapter itself"):
            dissect.load_pair(tmp_path / "base", adapter, progress=False)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool])
def test_a_weight_saved_along_that_is_no_float_is_refused(dtype, adapter):
    name = "base_model.model.model.norm.weight"
    rewritten(adapter, lambda tensors: tensors | {name: torch.ones(32, dtype=dtype)})
    with pytest.raises(DissectError, match=r"norm\.weight is stored as .*: float factors are needed"):
        load(adapter, progress=False)


def test_two_adapters_in_one_file_are_refused(adapter):
    rewritten(
        adapter,
        lambda tensors: (
            tensors
            | {
                n.replace("lora_A.", "lora_A.second."): t
                for n, t in tensors.items()
                if "layers.0" in n and "lora_A" in n
            }
        ),
    )
    with pytest.raises(DissectError, match="two adapters, or one of them twice"):
        load(adapter, progress=False)


def test_copies_of_embeddings_that_nobody_changed(tmp_path):
    """peft stores embeddings along when it fears that they were resized."""
    base = make_checkpoint("llama_tied", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    expected = merged_weights(tmp_path / "adapter")
    own = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    prefix = "base_model.model."
    both = {f"{prefix}model.embed_tokens.weight": own, f"{prefix}lm_head.weight": own}
    rewritten(tmp_path / "adapter", lambda tensors: tensors | both)
    same(merged_weights(tmp_path / "adapter"), expected)
    rewritten(tmp_path / "adapter", lambda tensors: tensors | {name: own + 0.5 for name in both})
    changed = merged_weights(tmp_path / "adapter")
    assert torch.equal(changed["model.embed_tokens.weight"], own + 0.5), "both uses alike: it is still one matrix"
    rewritten(tmp_path / "adapter", lambda tensors: tensors | {f"{prefix}lm_head.weight": own + 1})
    with pytest.raises(DissectError, match="embedding and output head are tied"):
        load(tmp_path / "adapter", progress=False)


@pytest.mark.parametrize("architecture", ["llama", "llama_tied"])
def test_a_resized_vocabulary_is_that_of_peft(architecture, tmp_path):
    base = make_checkpoint(architecture, tmp_path / "base")
    native = AutoModelForCausalLM.from_pretrained(base)
    native.resize_token_embeddings(323)
    model = peft.get_peft_model(native, peft.LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    ours = load(tmp_path / "adapter", progress=False)
    tokens = torch.randint(2, 323, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), model(tokens).logits, atol=1e-4, rtol=0)
    out = save_hf(ours, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 323
    same(merged_weights(out), dict(hf_tensors(ours)))


def test_an_adapter_that_changes_nothing_is_refused(tmp_path):
    base = make_checkpoint("llama", tmp_path / "base")
    make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    rewritten(tmp_path / "adapter", lambda t: {n: x * 0 if "lora_B" in n else x for n, x in t.items()})
    with pytest.raises(DissectError, match=r"changes nothing \(every product of its factors is zero"):
        load(tmp_path / "adapter", progress=False)
    make_adapter(base, tmp_path / "other", target_modules=["q_proj"])
    rewritten(tmp_path / "other", lambda t: {n: x * 0 if "lora_A" in n else x for n, x in t.items()})
    with pytest.raises(DissectError, match="changes nothing"):
        load(tmp_path / "other", progress=False)
    make_adapter(base, tmp_path / "unscaled", target_modules=["q_proj"])
    file = tmp_path / "unscaled" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 0}))
    with pytest.raises(DissectError, match="changes nothing"):
        load(tmp_path / "unscaled", progress=False)
    rewritten(tmp_path / "adapter", lambda tensors: {})
    with pytest.raises(DissectError, match=r"changes nothing \(it holds nothing but"):
        load(tmp_path / "adapter", progress=False)


def test_weights_beside_an_adapter_are_taken_and_named(adapter, tmp_path, caplog):
    base = tmp_path / "base"
    expected, plain = merged_weights(adapter), merged_weights(base)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).rename(base / name)
    caplog.clear()
    same(merged_weights(base), plain)
    assert "holds whole weights and an adapter: the weights are taken" in caplog.text
    same(merged_weights(base, base=base), expected)


@pytest.mark.parametrize("quantised", [False, True], ids=["moved", "4 bits"])
def test_the_base_of_the_pair_takes_the_place_of_one_that_cannot_be_had(quantised, adapter, tmp_path, caplog):
    expected = load(adapter, progress=False).checkpoint.fingerprint
    base = tmp_path / "base"
    if quantised:
        other = make_checkpoint("llama", tmp_path / "other")
        config = json.loads((base / "config.json").read_text()) | {
            "quantization_config": {"quant_method": "bitsandbytes"}
        }
        (base / "config.json").write_text(json.dumps(config))
        tensors = tensors_of(base / "model.safetensors")
        tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(8, 1, dtype=torch.uint8)
        save_file(tensors, base / "model.safetensors")
        named = "quantised weights (bitsandbytes)"
    else:
        other = base.rename(tmp_path / "other")
        named = "cannot be found"
    with pytest.raises(DissectError, match=re.escape(named)):
        load(adapter, progress=False)
    for first in (other, load(other, progress=False)):
        caplog.clear()
        pair = dissect.load_pair(first, adapter, progress=False)
        assert pair.unlearned.checkpoint.fingerprint == expected
        assert named in caplog.text and "takes its place" in caplog.text
    changed = dissect.load_pair(other, adapter, adapter_base=other, progress=False)
    assert changed.unlearned.checkpoint.fingerprint == expected


def test_the_command_line_takes_a_base_for_adapters(adapter, tmp_path):
    (tmp_path / "base").rename(tmp_path / "other")
    asked = ["inspect", str(adapter), "--device", "cpu", "-q"]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code != 0
    done = CliRunner().invoke(app, [*asked, "--adapter-base", str(tmp_path / "other")])
    assert done.exit_code == 0, done.output
    assert "merged" in done.output
    planned = CliRunner().invoke(app, ["plan", str(adapter), "--adapter-base", str(tmp_path / "other")])
    assert planned.exit_code == 0, planned.output
