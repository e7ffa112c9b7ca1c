"""One model in memory at a time, donors kept elsewhere: the same numbers."""

import logging
import shutil

import numpy as np
import pytest
import torch

import dissect
from dissect.models.build import unload
from dissect.models.files.load import reload
from dissect.models.files.stored import StoredParameters
from dissect.sweep.cache import CacheOptions, activation_bytes


def in_memory(pair: dissect.ModelPair) -> list[str]:
    return [role for role in ("base", "unlearned") if not getattr(pair, role).embed.W_E.is_meta]


@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "gpt2", "gemma2"])
def test_an_emptied_model_is_filled_with_the_same_bits(architecture, tiny_pair):
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    unload(model)
    assert all(parameter.is_meta for parameter in model.parameters())
    reload(model, device=torch.device("cpu"), progress=False)
    assert {name for name, _ in model.named_parameters()} == set(before)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == trained


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_sequential_sweeps_equal_ordinary_ones_to_the_bit(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    prompts = facts.prompts(pair.tokenizer)

    def sweeps() -> list[dissect.SweepResult]:
        how = {"batch_size": 2, "progress": False}
        return [
            dissect.patch(pair, prompts, ["mlp_post", "attn_out", "z"], controls=True, **how),
            dissect.restore(pair, prompts, ["mlp.W_out", "attn"], **how),
        ]

    expected = sweeps()
    with pair.sequential():
        assert in_memory(pair) == []
        found = sweeps()
        assert in_memory(pair) == ["unlearned"]
    assert in_memory(pair) == ["base", "unlearned"]
    for one, other in zip(found, expected, strict=True):
        assert one.data.identical(other.data)


def test_loading_a_pair_sequentially_never_holds_two_models(tiny_pair, facts, monkeypatch):
    directories = tiny_pair("llama")
    alive: list[int] = []
    original = dissect.models.pair.load

    def counted(*args, **kwargs):
        alive.append(sum(not model.embed.W_E.is_meta for model in loaded))
        loaded.append(original(*args, **kwargs))
        return loaded[-1]

    loaded: list = []
    monkeypatch.setattr(dissect.models.pair, "load", counted)
    pair = dissect.load_pair(*directories, sequential=True, progress=False)
    assert alive == [0, 0] and in_memory(pair) == []
    prompts = facts.prompts(pair.tokenizer)
    found = dissect.patch(pair, prompts, progress=False)
    monkeypatch.undo()
    expected = dissect.patch(dissect.load_pair(*directories, progress=False), prompts, progress=False)
    assert found.data.identical(expected.data)


def test_one_model_is_given_back_before_the_other_is_loaded(tiny_pair, monkeypatch):
    pair = dissect.load_pair(*tiny_pair("llama"), sequential=True, progress=False)
    held: list[list[str]] = []
    original = dissect.models.pair.reload

    def counted(*args, **kwargs):
        held.append(in_memory(pair))
        original(*args, **kwargs)

    monkeypatch.setattr(dissect.models.pair, "reload", counted)
    for model in (pair.base, pair.unlearned, pair.base, pair.base):
        pair.wake(model)
    assert held == [[], [], []]


def test_what_needs_both_models_says_so(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), sequential=True, progress=False)
    with pytest.raises(dissect.DissectError, match="needs both models at once"):
        dissect.attribute(pair, facts.prompts(pair.tokenizer), progress=False)


def test_a_changed_model_is_not_thrown_away(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    dissect.unlearn(pair.unlearned, forget=facts, epochs=1, progress=False)
    with pytest.raises(dissect.DissectError, match="was changed since it was loaded"), pair.sequential():
        pass
    assert in_memory(pair) == ["base", "unlearned"]


def test_changed_files_are_noticed(tiny_pair, tmp_path):
    import shutil

    first, second = tiny_pair("llama")
    copy = shutil.copytree(first, tmp_path / "copy")
    pair = dissect.load_pair(copy, second, progress=False)
    with pytest.raises(dissect.DissectError, match="have changed since they were loaded"), pair.sequential():
        shutil.copy(second / "model.safetensors", copy / "model.safetensors")
        pair.wake(pair.base)


def test_donors_kept_on_disk_or_narrower(tiny_pair, facts, tmp_path):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)
    expected = dissect.patch(pair, prompts, batch_size=2, progress=False)
    with pair.sequential():
        disk = CacheOptions(directory=tmp_path / "cache", device="cpu")
        found = dissect.patch(pair, prompts, batch_size=2, cache=disk, progress=False)
    assert found.data.identical(expected.data)
    assert list((tmp_path / "cache").iterdir()) == []
    narrow = dissect.patch(pair, prompts, cache=CacheOptions(dtype="bfloat16"), progress=False)
    difference = np.abs(narrow.recovery().values - expected.recovery().values).max()
    assert 0 < difference < 0.05


def test_the_estimate_of_the_cache_is_what_it_takes(tiny_pair, facts, caplog):
    from dissect.sweep.batch import batches
    from dissect.sweep.donor import Donor

    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)
    donor = Donor(pair.base)
    sites = ("mlp.hook_post", "attn.hook_k", "attn.hook_z", "attn.hook_pattern", "hook_resid_mid")
    donor.want([f"blocks.1.{site}" for site in sites])
    batch = next(batches(prompts, 8))
    taken = sum(donor.activation(batch, name).nbytes for name in donor.names)
    length = prompts.tokens.shape[1]
    assert activation_bytes(pair.base, donor.names, len(prompts) * length, length=length) == taken
    with caplog.at_level(logging.INFO):
        dissect.patch(pair, prompts, progress=False)
    assert "the donor's cache takes" in caplog.text


@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "gpt2", "phi3", "olmo"])
def test_single_parameters_are_read_from_the_files(architecture, tiny_pair):
    """In the values, the dtype and the order in memory that they have in a loaded model; fused ones are taken apart."""
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    unload(model)
    stored = StoredParameters.of(model)
    stored.check(expected)
    for name, value in expected.items():
        found = stored.parameter(name)
        assert torch.equal(found, value) and found.stride() == value.stride(), name


def test_only_the_donors_tensors_in_play_are_read_and_kept(tiny_pair, facts, monkeypatch):
    pair = dissect.load_pair(*tiny_pair("llama"), sequential=True, progress=False)
    read: list[str] = []
    kept: list[int] = []
    original = StoredParameters._read

    def counted(self, name):
        read.append(name)
        kept.append(len(self._kept))
        return original(self, name)

    monkeypatch.setattr(StoredParameters, "_read", counted)
    prompts = facts.prompts(pair.tokenizer)
    dissect.restore(pair, prompts, ["mlp.W_out", "attn.W_O"], window=1, progress=False)
    expected = [f"blocks.{layer}.{block}" for block in ("mlp.W_out", "attn.W_O") for layer in range(3)]
    assert read == expected and max(kept) == 1
    assert in_memory(pair) == ["unlearned"]


def test_a_third_checkpoint_takes_its_turn(tiny_pair, facts):
    base, unlearned = tiny_pair("llama")
    pair = dissect.load_pair(base, unlearned, retrained=base, progress=False)
    prompts = facts.prompts(pair.tokenizer)
    asked = [("mlp.W_out", "mlp_post"), "attn"]
    expected = dissect.restore(pair, prompts, asked, window=1, controls=True, progress=False)
    with pair.sequential():
        found = dissect.restore(pair, prompts, asked, window=1, controls=True, progress=False)
        assert in_memory(pair) == ["unlearned"] and pair.retrained.embed.W_E.is_meta
    assert found.data.identical(expected.data)


def test_a_donors_file_that_changed_meanwhile_is_seen(tiny_pair, facts, tmp_path):
    base, unlearned = tiny_pair("llama")
    copied = tmp_path / "base"
    shutil.copytree(base, copied)
    model = dissect.load(copied, progress=False)
    stored = StoredParameters.of(model)
    stored.parameter("blocks.0.mlp.W_out")
    shutil.copy(unlearned / "model.safetensors", copied / "model.safetensors")
    with pytest.raises(dissect.DissectError, match="has changed since it was loaded"):
        StoredParameters.of(model).parameter("blocks.0.mlp.W_out")


def test_a_transplant_reads_the_donor_from_its_files(tiny_pair):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    expected = dissect.transplant(pair, blocks=["mlp"], layers=[1])
    with pair.sequential():
        found = dissect.transplant(pair, blocks=["mlp"], layers=[1])
        assert in_memory(pair) == ["unlearned"]
    for (name, one), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other), name
