"""Where checkpoints come from, and what is wrong with them."""

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file

import dissect.models.files.hub as hub
from dissect.errors import DissectError
from dissect.models.files.load import load
from tests.support.tiny import FAMILIES, make_checkpoint, tensors_of


def parameters(path, **settings):
    return {name: p.detach() for name, p in load(path, progress=False, **settings).named_parameters()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def rewrite(path, change):
    """Change the mapping of names to tensors in ``model.safetensors``."""
    file = path / "model.safetensors"
    tensors = tensors_of(file)
    tensors = change(tensors) or tensors
    save_file(tensors, file, metadata={"format": "pt"})
    return path


def refused(path, named, **settings):
    with pytest.raises(DissectError, match=re.escape(named)) as caught:
        load(path, progress=False, **settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.fixture
def llama(tmp_path):
    return make_checkpoint("llama", tmp_path / "model")


def test_many_shards_are_one_model(llama, tmp_path):
    shards = make_checkpoint("llama", tmp_path / "shards", max_shard_size="20KB")
    assert len(list(shards.glob("*.safetensors"))) > 3
    assert_same(parameters(shards), parameters(llama))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("files", [1, 2])
def test_pickled_weights(llama, tmp_path, zipped, files):
    expected = parameters(llama)
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    names = ["pytorch_model.bin"] if files == 1 else ["pytorch_model-1.bin", "pytorch_model-2.bin"]
    placed = {name: names[number % files] for number, name in enumerate(tensors)}
    for file in names:
        part = {name: tensor for name, tensor in tensors.items() if placed[name] == file}
        torch.save(part, llama / file, _use_new_zipfile_serialization=zipped)
    if files > 1:
        (llama / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": placed}))
    assert_same(parameters(llama), expected)


class Evil:
    """Runs code when it is unpickled, unless weights_only holds."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


def test_pickled_code_does_not_run(llama, tmp_path):
    (llama / "model.safetensors").unlink()
    torch.save({"x": Evil(tmp_path / "ran")}, llama / "pytorch_model.bin")
    refused(llama, "cannot be read")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "neox"])
def test_tensors_without_the_prefix_of_the_model(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    expected = parameters(path)
    prefix = {"gpt2": "transformer.", "llama": "model.", "neox": "gpt_neox."}[architecture]
    rewrite(path, lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    assert_same(parameters(path), expected)


@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "gpt2", "neox", "opt", "gptj"])
@pytest.mark.parametrize(
    "mark", ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod.", "model.", "_forward_module.student."]
)
def test_prefixes_that_wrappers_left_are_taken_off_and_shown(architecture, mark, tmp_path, caplog):
    path = make_checkpoint(architecture, tmp_path / "model")
    expected = parameters(path)
    rewrite(path, lambda tensors: {f"{mark}{name}": tensor for name, tensor in tensors.items()})
    caplog.clear()
    assert_same(parameters(path), expected)
    shown = mark.replace("_orig_mod.", "")
    assert not shown or repr(shown) in caplog.text


def test_marks_of_wrappers_within_a_name(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model")
    expected = parameters(path)
    rewrite(
        path,
        lambda tensors: {
            name.replace("layers.", "layers._orig_mod.").replace(".mlp.", "._fsdp_wrapped_module.mlp."): tensor
            for name, tensor in tensors.items()
        },
    )
    assert_same(parameters(path), expected)
    rewrite(path, lambda tensors: tensors | {"model.norm._orig_mod.weight": tensors["model.norm.weight"] + 1})
    refused(path, "two spellings of one tensor")


@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2", "gemma3", "gptj"])
def test_a_tied_model_stored_under_the_name_of_its_head_alone(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tie_word_embeddings=True)
    expected = parameters(path)
    embedding = {"gpt2": "transformer.wte.weight", "gptj": "transformer.wte.weight"}

    def renamed(tensors):
        return tensors | {"lm_head.weight": tensors.pop(embedding.get(architecture, "model.embed_tokens.weight"))}

    rewrite(path, renamed)
    assert_same(parameters(path), expected)
    rewrite(path, lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()})
    assert_same(parameters(path), expected)


def test_what_the_files_hold_instead_is_shown(llama):
    rewrite(llama, lambda tensors: {name.replace("mlp", "ffn"): tensor for name, tensor in tensors.items()})
    said = refused(llama, "lack model.layers.0.mlp.")
    assert "they hold model.layers.0.ffn." in said


def test_buffers_of_older_files_are_passed_over(tmp_path):
    gpt2 = make_checkpoint("gpt2", tmp_path / "gpt2")
    neox = make_checkpoint("neox", tmp_path / "neox")
    expected = parameters(gpt2), parameters(neox)
    rewrite(gpt2, lambda tensors: tensors | {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64)})

    def older(tensors):
        tensors["lm_head.weight"] = tensors.pop("embed_out.weight")  # as in the memory of newer transformers
        attention = "gpt_neox.layers.0.attention."
        buffers = {
            "bias": torch.ones(1, 1, 4, 4),
            "masked_bias": torch.tensor(-1e9),
            "rotary_emb.inv_freq": torch.ones(2),
        }
        return tensors | {attention + name: value for name, value in buffers.items()}

    rewrite(neox, older)
    assert_same(parameters(gpt2), expected[0])
    assert_same(parameters(neox), expected[1])


def test_a_second_head_of_a_tied_model_must_be_the_embedding(tmp_path):
    path = make_checkpoint("llama_tied", tmp_path / "model")
    expected = parameters(path)
    rewrite(path, lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    assert_same(parameters(path), expected)
    rewrite(path, lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1})
    refused(path, "set tie_word_embeddings to false")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_missing_and_left_over_tensors_are_named(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    name = sorted(load_file(path / "model.safetensors"))[7]
    rewrite(path, lambda tensors: {each: tensor for each, tensor in tensors.items() if each != name})
    refused(path, f"lack {name}")
    path = make_checkpoint(architecture, tmp_path / "model")
    rewrite(path, lambda tensors: tensors | {"model.layers.0.extra.weight": torch.zeros(3)})
    refused(path, "model.layers.0.extra.weight")


def test_a_tensor_of_another_shape_is_named(llama):
    rewrite(llama, lambda tensors: tensors | {"model.norm.weight": torch.ones(31)})
    refused(llama, "model.norm.weight has shape [31], config.json says [32]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(llama, value):
    def spoil(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = value

    rewrite(llama, spoil)
    refused(llama, "model.layers.1.mlp.up_proj.weight holds NaN or infinite values")


def test_overflow_of_half_precision_is_not_called_damage(llama):
    def enlarge(tensors):
        tensors["model.norm.weight"][0] = 1e6

    rewrite(llama, enlarge)
    refused(llama, "too large for float16", dtype="float16")


def test_integer_weights_are_refused(llama):
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(llama, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})
    refused(llama, f"{name} is stored as I8: quantised weights are not supported")


@pytest.mark.parametrize("keep", [0, 4, 100, -1000])
def test_truncated_safetensors(llama, keep):
    file = llama / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refused(llama, "model.safetensors cannot be read")


@pytest.mark.parametrize("keep", [0, 4, 5000, -1000])
def test_truncated_pickle(llama, keep):
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    file = llama / "pytorch_model.bin"
    torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:keep])
    refused(llama, "pytorch_model.bin cannot be read")


def test_missing_shard(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model", max_shard_size="20KB")
    lost = sorted(path.glob("model-*.safetensors"))[1]
    lost.unlink()
    refused(path, lost.name)


def test_missing_or_unreadable_parts(llama, tmp_path):
    refused(tmp_path / "nowhere" / "at" / "all", "no such directory")
    refused("./nowhere", "no such directory")
    refused(llama / "config.json", "is a file")
    refused(llama, "revision='main' is for hub ids", revision="main")
    refused(llama, "base= is for adapters", base=llama)
    refused(llama, "unknown dtype 'int4'", dtype="int4")
    refused(llama, "device 'gpu7' cannot be used", device="gpu7")
    (llama / "tokenizer.json").write_text("{")
    refused(llama, "the tokenizer in")
    (llama / "model.safetensors").unlink()
    refused(llama, "has no weights")
    (llama / "config.json").write_text('{"architectures": ')
    refused(llama, "cannot be read as JSON")
    (llama / "config.json").write_text("[]")
    refused(llama, "an object is needed")
    (llama / "config.json").unlink()
    refused(llama, "has no config.json")


def hub_cache(monkeypatch, tmp_path, repository, make):
    """A hub cache with one repository, as huggingface_hub lays it out; ``make`` fills the snapshot."""
    root = tmp_path / "hub" / ("models--" + repository.replace("/", "--"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    make(root / "snapshots" / commit)
    (root / "refs").mkdir()
    for name in ("main", "step100"):
        (root / "refs" / name).write_text(commit)
    monkeypatch.setattr(hub, "snapshot_download", _cached(hub.snapshot_download, tmp_path / "hub"))
    return root / "snapshots" / commit


def _cached(download, cache):
    def offline(*args, **kwargs):
        return download(*args, cache_dir=cache, local_files_only=True, **kwargs)

    return offline


def test_hub_id_from_the_cache(monkeypatch, tmp_path):
    snapshot = hub_cache(monkeypatch, tmp_path, "someone/llama-gemma", lambda path: make_checkpoint("olmo", path))
    model = load("someone/llama-gemma", revision="step100", progress=False)
    assert model.checkpoint.path == snapshot
    assert model.checkpoint.source == "someone/llama-gemma"
    assert model.checkpoint.revision == "step100"
    assert_same(dict(model.named_parameters()), parameters(snapshot))
    refused("someone/llama-gemma", "no-such-branch", revision="no-such-branch")
    refused("someone/else", "someone/else: no such directory, not in the hub's cache")


def test_only_what_is_needed_is_downloaded(monkeypatch, tmp_path):
    asked = []

    def download(repo_id, *, revision, allow_patterns, ignore_patterns):
        asked.append((revision, allow_patterns, ignore_patterns))
        if any(pattern.endswith(".bin") for pattern in allow_patterns):
            make_checkpoint("gpt2", tmp_path)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    load("someone/pickled", revision="abc", progress=False)
    (first, second) = asked
    assert first[0] == second[0] == "abc"
    assert not any(pattern.endswith(".bin") for pattern in first[1])
    assert any(pattern.endswith(".bin") for pattern in second[1])
    load("someone/safe", progress=False)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (LocalEntryNotFoundError("offline"), "cannot be reached"),
        (ConnectionError("no route\nto host"), "no route"),
    ],
)
def test_errors_of_the_hub_are_one_line(monkeypatch, error, named):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    refused("someone/model", named)
    refused("not a/hub id", "neither a directory nor a hub id")


def test_unknown_revision_on_the_hub(monkeypatch):
    import httpx

    def fail(*args, **kwargs):
        raise RevisionNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "https://x")))

    monkeypatch.setattr(hub, "snapshot_download", fail)
    refused("someone/model", "not the revision 'v9'", revision="v9")
