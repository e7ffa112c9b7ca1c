"""Restoring outside of a sweep: contexts that are undone to the bit, transplants that transformers reads."""

import random
import signal
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM

import dissect
from dissect.undoing.change import Change
from tests.patching.test_patch import prompts_of, sha
from tests.support.tiny import make_checkpoint

PARTS = [
    {"blocks": ["mlp.W_out"], "layers": [1]},
    {"blocks": ["mlp"], "t": 0.3},
    {"blocks": "attn.W_O", "heads": [0, 2]},
    {"blocks": ["mlp.W_out"], "neurons": [3, 7], "layers": [0, 2]},
    {"blocks": ["attn.W_V", "mlp.W_in"], "rank": 2},
    {"blocks": ["block", "embed", "unembed", "ln_final"]},
    {"blocks": [(0, "mlp"), (2, "attn.W_Q"), "unembed"]},
]


@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "gpt2"])
@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_undone_to_the_bit_whatever_ends_the_body(architecture, parts, tiny_pair):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    base, unlearned = sha(pair.base), sha(pair.unlearned)
    tensors = {name: parameter.data_ptr() for name, parameter in pair.unlearned.named_parameters()}
    for error in (None, KeyboardInterrupt, ValueError):
        try:
            with dissect.restored(pair.unlearned, pair.base, **parts) as model:
                assert model is pair.unlearned and sha(model) != unlearned
                if error is not None:
                    raise error
        except (KeyboardInterrupt, ValueError):
            assert error is not None
        assert sha(pair.unlearned) == unlearned and sha(pair.base) == base
    assert {name: parameter.data_ptr() for name, parameter in pair.unlearned.named_parameters()} == tensors


@pytest.mark.parametrize("how", ["restored", "quantised"])
def test_undone_after_a_real_ctrl_c(how, tiny_pair):
    """At forty moments, most of them in the middle of swapping or of undoing it."""
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    before, moments = sha(pair.unlearned), random.Random(0)
    changes = {
        "restored": lambda: dissect.restored(pair.unlearned, pair.base, blocks=["block"]),
        "quantised": lambda: dissect.quantised(pair.unlearned, "int8"),
    }
    seen: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    # a shell starts what runs in its background with Ctrl-C ignored, and Python then leaves it so
    handler = signal.signal(signal.SIGINT, interrupt)
    try:
        for _ in range(40):
            seen.clear()
            timer = _ctrl_c(0.002 + 0.02 * moments.random())
            with pytest.raises(KeyboardInterrupt) as caught:  # holds the frames, so that no generator is closed for us
                timer.start()  # in here: on a busy machine it may come before the next line
                while True:
                    if seen:  # Python swallowed it, as it does what is raised in a weak reference's callback: again
                        seen.clear()
                        timer = _ctrl_c(0.002 + 0.02 * moments.random())
                        timer.start()
                    with changes[how]():
                        pass
            assert caught.value is not None and sha(pair.unlearned) == before
            timer.join()
    finally:
        signal.signal(signal.SIGINT, handler)


def _ctrl_c(seconds: float) -> threading.Timer:
    return threading.Timer(seconds, signal.raise_signal, [signal.SIGINT])


def test_what_fails_halfway_is_undone_and_ctrl_c_waits_for_the_undoing():
    seen, handler = [], signal.signal(signal.SIGINT, signal.default_int_handler)

    def undo() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("undone")

    try:
        with pytest.raises(KeyboardInterrupt), Change(1, lambda: seen.append("do"), undo) as value:
            assert value == 1
        assert seen == ["do", "undone"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    seen.clear()
    with pytest.raises(ValueError, match="half"), Change(None, lambda: half(seen), lambda: seen.append("undone")):
        pytest.fail("the body ran")
    assert seen == ["half", "undone"]
    assert signal.getsignal(signal.SIGINT) is handler


def half(seen: list[str]) -> None:
    seen.append("half")
    raise ValueError("half")


@pytest.mark.parametrize("architecture", ["llama", "llama_tied"])
def test_nested_contexts(architecture, tiny_pair):
    """An inner part of a block that an outer context restored whole is mixed with that, and the donor is left alone."""
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    other = dissect.load(make_other(tiny_pair, architecture), progress=False)
    shas = [sha(model) for model in (pair.base, pair.unlearned, other)]
    with dissect.restored(pair.unlearned, pair.base, blocks=["mlp", "embed", "unembed"]):
        outer = sha(pair.unlearned)
        with dissect.restored(pair.unlearned, other, blocks=["mlp.W_out"], neurons=[5]) as model:
            mixed, base = model.blocks[1].mlp.W_out, pair.base.blocks[1].mlp.W_out
            assert torch.equal(mixed[5], other.blocks[1].mlp.W_out[5]) and torch.equal(mixed[6], base[6])
            with dissect.restored(model, other, blocks="embed"):
                assert torch.equal(model.embed.W_E, other.embed.W_E)
                assert torch.equal(model.unembed.W_U, other.unembed.W_U) == model.checkpoint.tied
        assert sha(pair.unlearned) == outer
    assert [sha(model) for model in (pair.base, pair.unlearned, other)] == shas


def make_other(tiny_pair, architecture):
    return make_checkpoint(architecture, tiny_pair(architecture)[0].parent / "other", seed=5)


@pytest.mark.parametrize("architecture", ["llama", "olmo", "gpt2", "gemma2", "neox"])
@pytest.mark.parametrize("parts", PARTS[:5], ids=str)
def test_a_transplant_is_the_restored_model_and_transformers_reads_it(architecture, parts, tiny_pair, facts, tmp_path):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    tokens = prompts_of(facts, pair).tokens
    before = sha(pair.unlearned)
    fixed = dissect.transplant(pair, **parts)
    assert sha(pair.unlearned) == before
    assert fixed.checkpoint.fingerprint != pair.unlearned.checkpoint.fingerprint and not fixed.checkpoint.on_disk
    with torch.no_grad():
        with dissect.restored(pair.unlearned, pair.base, **parts) as model:
            expected = model(tokens, padding_side="right")
        assert torch.equal(fixed(tokens, padding_side="right"), expected)
        dissect.save_hf(fixed, tmp_path / "fixed")
        read = AutoModelForCausalLM.from_pretrained(tmp_path / "fixed", attn_implementation="eager").eval()
        theirs = read(tokens).logits
    for row, length in enumerate(prompts_of(facts, pair).lengths.tolist()):  # behind it is padding
        torch.testing.assert_close(theirs[row, :length], expected[row, :length], atol=1e-5, rtol=1e-5)
    again = dissect.load(tmp_path / "fixed", progress=False)
    assert sha(again) == sha(fixed)


def test_transformers_generates_from_a_transplant(tiny_pair, tmp_path):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    everything = ["block", "embed", "ln_final", "unembed"]
    dissect.save_hf(dissect.transplant(pair, blocks=everything), tmp_path / "fixed")
    fixed, base = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "fixed", tiny_pair("llama")[0]))
    prompt = torch.tensor([[0, 17, 42, 101]])
    how = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 1}
    assert torch.equal(fixed.generate(prompt, **how), base.generate(prompt, **how))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_a_donor_on_disk_is_as_good_as_one_in_memory(architecture, tiny_pair):
    base, unlearned = tiny_pair(architecture)
    pair = dissect.load_pair(base, unlearned, progress=False)
    before = sha(pair.unlearned)
    parts = {"blocks": [(1, "attn"), "ln_final", "embed"]}
    with dissect.restored(pair.unlearned, pair.base, **parts):
        expected = sha(pair.unlearned)
    with dissect.restored(pair.unlearned, base, **parts):
        assert sha(pair.unlearned) == expected
    assert sha(pair.unlearned) == before


@pytest.mark.parametrize(
    ("other", "settings", "parts", "said"),
    [
        ("qwen3", {}, {"blocks": "mlp"}, "Qwen3ForCausalLM, the model is a LlamaForCausalLM"),
        ("llama", {"intermediate_size": 44}, {"blocks": "mlp"}, r"W_in is \[32, 44\] in .*, \[32, 40\] in the model"),
        ("llama", {"num_hidden_layers": 2}, {"blocks": [(2, "mlp")]}, "has no blocks.2.mlp"),
        ("llama", {"tie_word_embeddings": True}, {"blocks": "unembed"}, "has no unembed.W_U"),
    ],
)
def test_a_donor_on_disk_that_does_not_fit_is_refused(other, settings, parts, said, tiny_pair, tmp_path):
    model = dissect.load(tiny_pair("llama")[1], progress=False)
    before = sha(model)
    donor = make_checkpoint(other, tmp_path / "donor", **settings)
    with pytest.raises(dissect.DissectError, match=said), dissect.restored(model, donor, **parts):
        pass
    assert sha(model) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"blocks": "mlp", "layers": [9]}, "no layer 9"),
        ({"blocks": [(9, "mlp")]}, "no layer 9"),
        ({"blocks": []}, "nothing to sweep"),
        ({"blocks": "mlpp"}, "no parameter block 'mlpp'"),
        ({"blocks": ["mlp", "mlp"]}, "twice"),
        ({"blocks": "mlp", "heads": [0]}, "cannot be cut into heads"),
        ({"blocks": "attn.W_Q", "heads": [9]}, "no head 9"),
        ({"blocks": "mlp.W_in", "neurons": [40]}, "no neuron 40"),
        ({"blocks": "mlp.W_in", "rank": 0}, "ranks of 1 or more"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said, tiny_pair):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    before = sha(pair.unlearned)
    with pytest.raises(dissect.DissectError, match=said):
        dissect.transplant(pair, **asked)
    with pytest.raises(dissect.DissectError, match=said), dissect.restored(pair.unlearned, pair.base, **asked):
        pass
    assert sha(pair.unlearned) == before
