"""Loading: a hooked model computes what transformers computes, on every architecture."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.models.build import make_contiguous
from dissect.models.files.load import load
from dissect.models.files.save import save_hf
from tests.support.tiny import ARCHITECTURES, FAMILIES, SENTENCES, WINDOW, make_checkpoint

STORIES = Path(__file__).parents[3] / "shared/data/stories260k"
LENGTHS = (40, 3, 23, 31)  # longer than every window, and than the original context of the llama3 rope


@pytest.fixture(scope="module", params=ARCHITECTURES)
def checkpoint(request, tmp_path_factory) -> Path:
    """A checkpoint whose directory's name is a lie."""
    lie = "llama-gemma-gpt2" if "olmo" in request.param else "olmo-2-gemma"
    return make_checkpoint(request.param, tmp_path_factory.mktemp(request.param) / lie)


def right_padded(vocabulary: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens of unequal length with rubbish for padding, and the mask of the real ones."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, vocabulary, (len(LENGTHS), max(LENGTHS)), generator=generator)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return tokens, mask


@torch.no_grad()
def test_logits_equal_those_of_transformers(checkpoint):
    native = AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager", dtype=torch.float32)
    model = load(checkpoint, progress=False)
    tokens, mask = right_padded(model.cfg.d_vocab)
    assert max(LENGTHS) > WINDOW
    expected = native(tokens, attention_mask=mask.long()).logits
    torch.testing.assert_close(model(tokens)[mask], expected[mask], atol=1e-4, rtol=0)
    assert expected[mask].std() > 0.3  # otherwise the tolerance would prove nothing


def test_each_stored_value_is_in_the_model_once(checkpoint):
    native = AutoModelForCausalLM.from_pretrained(checkpoint)
    model = load(checkpoint, progress=False)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(p.numel() for p in trainable) == sum(p.numel() for p in native.parameters())
    ours = torch.cat([p.detach().flatten() for p in trainable]).sort().values
    theirs = torch.cat([p.detach().flatten() for p in native.parameters()]).sort().values
    assert torch.equal(ours, theirs)


def test_parameters_that_the_checkpoint_lacks_are_constant_and_frozen(checkpoint):
    model = load(checkpoint, progress=False)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == model.checkpoint.frozen
    for name in frozen:
        constant = 1.0 if name.endswith(".w") else 0.0
        assert (model.get_parameter(name) == constant).all(), name
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())
    assert not model.training


def test_every_hook_has_its_name(checkpoint):
    model = load(checkpoint, progress=False)
    tokens, _ = right_padded(model.cfg.d_vocab)
    _, cache = model.run_with_cache(tokens)
    assert set(cache) <= set(model.hook_dict)
    for name in ("hook_embed", "blocks.1.mlp.hook_post", "blocks.2.hook_attn_out", "unembed.hook_in"):
        assert name in cache
    torch.testing.assert_close(cache["hook_embed"][0], model.embed(tokens)[0])


@pytest.mark.parametrize("architecture", FAMILIES)
def test_loss_gradients_equal_those_of_transformers(architecture, tmp_path):
    """Of the embedding above all: where it is tied, one parameter collects both uses."""
    path = make_checkpoint(architecture, tmp_path / "model", tie_word_embeddings=True)
    native = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    model = load(path, progress=False)
    tokens, _ = right_padded(model.cfg.d_vocab)
    native(tokens).logits.log_softmax(-1)[..., 5].mean().backward()
    model(tokens).log_softmax(-1)[..., 5].mean().backward()
    assert "unembed.W_U" not in dict(model.named_parameters())
    assert model.unembed.W_U.data_ptr() == model.embed.W_E.data_ptr()
    theirs = native.get_input_embeddings().weight.grad
    torch.testing.assert_close(model.embed.W_E.grad, theirs, atol=1e-6, rtol=1e-4)


def test_an_untied_head_is_a_parameter_of_its_own(tmp_path):
    model = load(make_checkpoint("llama", tmp_path), progress=False)
    assert not model.checkpoint.tied
    assert model.unembed.W_U.data_ptr() != model.embed.W_E.data_ptr()


def test_tied_model_survives_a_deep_copy_and_a_change_of_dtype(tmp_path):
    import copy

    model = load(make_checkpoint("llama_tied", tmp_path), progress=False)
    for other in (copy.deepcopy(model), copy.deepcopy(model).to(torch.float64, print_details=False)):
        assert other.W_U.data_ptr() == other.W_E.data_ptr() != model.W_E.data_ptr()
        with torch.no_grad():
            other.embed.W_E.zero_()
        assert (other.W_U == 0).all()
        assert (model.W_U != 0).any()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_tokens_are_those_of_the_checkpoints_own_tokenizer(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "gemma-without-bos")
    own = AutoTokenizer.from_pretrained(path)
    model = load(path, progress=False)
    for sentence in SENTENCES:
        assert model.tokenizer(sentence)["input_ids"] == own(sentence)["input_ids"]
    model.tokenizer.pad_token = "</s>"  # to_tokens pads even a single text
    assert model.to_tokens(SENTENCES[0])[0].tolist() == own(SENTENCES[0])["input_ids"]


def test_left_padding_of_a_tokenizer_does_not_reach_the_model(tmp_path):
    path = make_checkpoint("llama", tmp_path / "model")
    expected = load(path, progress=False)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings |= {"padding_side": "left", "pad_token": "<s>"}  # the padding token is the BOS
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    model = load(path, progress=False)
    tokens = torch.tensor([model.tokenizer(SENTENCES[0])["input_ids"]])
    assert model.checkpoint.padding_side == "left"
    assert torch.equal(model(tokens), expected(tokens))


def test_no_tokenizer_is_a_warning(tmp_path, caplog):
    model = load(make_checkpoint("gpt2", tmp_path, tokenizer=False), progress=False)
    assert model.tokenizer is None
    assert "without a tokenizer" in caplog.text


@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_bfloat16_is_as_near_as_transformers_own(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path, dtype=torch.bfloat16)
    exact = load(path, dtype="float64", progress=False)
    model = load(path, dtype="auto", progress=False)
    native = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager", dtype=torch.bfloat16)
    assert model.checkpoint.dtype == "bfloat16"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16} == {model.cfg.dtype}
    tokens, _ = right_padded(model.cfg.d_vocab)
    truth = exact(tokens)
    ours, theirs = (model(tokens).double() - truth).std(), (native(tokens).logits.double() - truth).std()
    assert ours < 1.5 * theirs


def test_fingerprint_follows_the_weights_alone(tmp_path):
    def fingerprint(name, **settings):
        dtype = settings.pop("load_as", "float32")
        return load(
            make_checkpoint("llama", tmp_path / name, **settings), dtype=dtype, progress=False
        ).checkpoint.fingerprint

    def nudge(model):
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3

    first = fingerprint("first")
    assert first == fingerprint("other-name", max_shard_size="20KB") == fingerprint("bf16", load_as="bfloat16")
    assert first != fingerprint("nudged", change=nudge)
    assert first != fingerprint("other-eps", rms_norm_eps=1e-4)


def test_matrices_lie_as_transformers_forward_pass_wants_them(tmp_path):
    """Otherwise TransformerLens copies every matrix in every forward pass."""
    model = load(make_checkpoint("llama", tmp_path), progress=False)
    block = model.blocks[0]
    for matrix in (block.mlp.W_in, block.mlp.W_gate, block.mlp.W_out, model.unembed.W_U):
        assert matrix.T.is_contiguous()
    assert block.attn.W_Q.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2", "neox", "phi3"])
def test_contiguous_parameters_compute_and_save_the_same(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model")
    model, other = load(path, progress=False), load(path, progress=False)
    make_contiguous(other)
    tokens, _ = right_padded(model.cfg.d_vocab)
    assert all(parameter.is_contiguous() for parameter in other.parameters())
    torch.testing.assert_close(other(tokens), model(tokens), atol=1e-5, rtol=0)
    again = load(save_hf(other, tmp_path / "out"), progress=False)
    assert again.checkpoint.fingerprint == model.checkpoint.fingerprint


@pytest.mark.skipif(not STORIES.is_dir(), reason="the real checkpoint is not here")
@torch.no_grad()
def test_real_checkpoint_continues_a_story_as_transformers_does():
    native = AutoModelForCausalLM.from_pretrained(STORIES)
    model = load(STORIES, progress=False)
    tokens = model.tokenizer("Once upon a time, there was a little girl named", return_tensors="pt")["input_ids"]
    expected = native.generate(tokens, max_new_tokens=40, do_sample=False)[0]
    for _ in range(len(expected) - tokens.shape[1]):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
    assert tokens[0].tolist() == expected.tolist()
