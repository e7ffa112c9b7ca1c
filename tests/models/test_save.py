"""Saving: what was loaded goes back bit for bit, for every architecture."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.files.save import hf_tensors, save_hf
from tests.support.tiny import ARCHITECTURES, FAMILIES, SENTENCES, make_checkpoint


def state(path, **settings):
    return AutoModelForCausalLM.from_pretrained(path, **settings).state_dict()


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_comes_back_bit_for_bit(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "a-lie-about-gemma")
    model = load(path, progress=False)
    out = save_hf(model, tmp_path / "out")
    assert_same(state(out), state(path))
    assert load(out, progress=False).checkpoint.fingerprint == model.checkpoint.fingerprint


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_and_tensors_are_those_in_the_files(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    ours = dict(hf_tensors(load(path, progress=False)))
    with safe_open(path / "model.safetensors", "pt") as stored:
        assert set(ours) == set(stored.keys())
        for name, tensor in ours.items():
            assert torch.equal(tensor, stored.get_tensor(name)), name


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_trained_model_keeps_its_logits(architecture, tmp_path):
    """Every trainable parameter is moved, and transformers sees all of it."""
    model = load(make_checkpoint(architecture, tmp_path / "model"), progress=False)
    tokens = torch.randint(2, 300, (2, 30), generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = model(tokens)
    before.log_softmax(-1)[..., 7].mean().backward()
    optimizer.step()
    out = save_hf(model, tmp_path / "trained")
    with torch.no_grad():
        after = model(tokens)
        expected = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager")(tokens).logits
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_resaved_tokenizer_gives_the_same_ids(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    model = load(path, progress=False)
    model.tokenizer(SENTENCES[0], truncation=True, max_length=3)  # leaves its mark on a fast tokenizer
    out = save_hf(model, tmp_path / "out")
    own, again = AutoTokenizer.from_pretrained(path), AutoTokenizer.from_pretrained(out)
    for sentence in SENTENCES:
        assert again(sentence)["input_ids"] == own(sentence)["input_ids"]
    assert again.padding_side == own.padding_side
    assert (again.bos_token, again.eos_token, again.pad_token) == (own.bos_token, own.eos_token, own.pad_token)
    fresh = json.loads((out / "tokenizer.json").read_text())
    assert fresh.get("truncation") is None


def test_padding_side_is_saved_as_it_was(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model")
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    model = load(path, progress=False)
    out = save_hf(model, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(out).padding_side == "left"
    assert model.tokenizer.padding_side == "right"


def test_config_is_the_checkpoints_own(tmp_path):
    path = make_checkpoint("llama3_rope", tmp_path / "model", dtype=torch.bfloat16)
    out = save_hf(load(path, progress=False), tmp_path / "out")
    before, after = (json.loads((each / "config.json").read_text()) for each in (path, out))
    assert after.pop("dtype") == "float32"
    assert before.pop("dtype") == "bfloat16"
    before.pop("transformers_version")
    assert after == before
    generation = [json.loads((each / "generation_config.json").read_text()) for each in (path, out)]
    assert generation[0] == generation[1]


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_dtype_of_the_files(key, tmp_path):
    path = make_checkpoint("gemma2", tmp_path / "model", dtype=torch.bfloat16)
    file = path / "config.json"
    config = json.loads(file.read_text())
    config[key] = config.pop("dtype")
    file.write_text(json.dumps(config))
    assert_same(state(save_hf(load(path, dtype="auto", progress=False), tmp_path / "auto")), state(path))
    # bfloat16 to float32 and back loses nothing
    out = save_hf(load(path, progress=False), tmp_path / "back", dtype="bfloat16")
    assert_same(state(out), state(path))
    assert json.loads((out / "config.json").read_text())[key] == "bfloat16"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_shards(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    out = save_hf(load(path, progress=False), tmp_path / "out", max_shard_size="30KB")
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 2
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {file.name for file in files}
    assert_same(state(out), state(path))


def test_directories_in_use_are_left_alone(tmp_path):
    model = load(make_checkpoint("llama", tmp_path / "model"), progress=False)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "model").iterdir())
    with pytest.raises(DissectError, match="exists and is not empty"):
        save_hf(model, tmp_path / "model")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "model").iterdir()) == before
    save_hf(model, tmp_path / "model", overwrite=True)  # onto the very files it came from
    load(tmp_path / "model", progress=False)
    with pytest.raises(DissectError, match=r"holds .*model, which is read"):
        save_hf(model, tmp_path, overwrite=True)


def test_nothing_half_written_stays_behind(tmp_path, monkeypatch):
    import dissect.models.files.write_tensors as writing

    model = load(make_checkpoint("llama", tmp_path / "model"), progress=False)

    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(writing, "save_file", full)
    with pytest.raises(DissectError, match=r"out/model.safetensors cannot be written: disk full"):
        save_hf(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_changed_parameter_that_would_be_lost_is_named(tmp_path):
    model = load(make_checkpoint("olmo", tmp_path / "model"), progress=False)
    with torch.no_grad():
        model.blocks[1].ln2.w[3] = 2.0
    with pytest.raises(DissectError, match=r"blocks\.1\.ln2\.w was changed"):
        save_hf(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.draws  # its first weights
def test_a_model_from_elsewhere_is_refused(tmp_path):
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    cfg = HookedTransformerConfig(n_layers=1, d_model=8, n_ctx=4, d_head=4, d_vocab=9, act_fn="relu", device="cpu")
    with pytest.warns(DeprecationWarning):
        model = HookedTransformer(cfg)
    with pytest.raises(DissectError, match="not loaded with"):
        save_hf(model, tmp_path / "out")


def test_bad_arguments(tmp_path):
    model = load(make_checkpoint("gpt2", tmp_path / "model"), progress=False)
    with pytest.raises(DissectError, match="'int8'"):
        save_hf(model, tmp_path / "out", dtype="int8")
    with pytest.raises(DissectError, match="'huge'"):
        save_hf(model, tmp_path / "out", max_shard_size="huge")
