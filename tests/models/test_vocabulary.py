"""Rows that no token has, and pairs that differ in a row or in the BOS."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

import dissect
from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.files.save import save_hf
from dissect.models.running.generate import greedy
from dissect.models.vocabulary import trim_rows, unused_ids
from tests.support.tiny import VOCABULARY, make_checkpoint, make_tokenizer


def with_a_row_more(architecture, path):
    """A checkpoint with an added padding token, as fine-tuning frameworks leave it."""
    made = make_checkpoint(architecture, path)
    native = AutoModelForCausalLM.from_pretrained(made)
    native.resize_token_embeddings(VOCABULARY + 1)
    native.save_pretrained(made)
    tokenizer = make_tokenizer(bos=architecture != "phi")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(made)
    return made


def test_an_id_that_no_token_has_is_no_answer(tmp_path):
    model = load(make_checkpoint("llama", tmp_path / "model"), progress=False)
    unused = unused_ids(model)
    assert unused.tolist() == list(range(len(model.tokenizer), VOCABULARY))
    with torch.no_grad():
        model.unembed.b_U[unused] = 1e3  # an untrained row wins everywhere
    prompts = [torch.tensor(model.tokenizer("Ada lives in")["input_ids"])]
    (said,) = greedy(model, prompts, max_new_tokens=5, progress=False)
    assert not set(said.tolist()) & set(unused.tolist())
    with model.hooks(fwd_hooks=[("hook_embed", lambda x, hook: x)]):
        assert torch.equal(greedy(model, prompts, max_new_tokens=5, progress=False)[0], said)
    model.tokenizer = None
    assert int(greedy(model, prompts, max_new_tokens=5, progress=False)[0][0]) in unused.tolist()


@pytest.mark.draws  # resizing draws the added row
@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "phi"])
def test_a_pair_with_a_row_more_is_named_and_compared_on_request(architecture, tmp_path, facts):
    base, other = make_checkpoint(architecture, tmp_path / "base"), with_a_row_more(architecture, tmp_path / "other")
    with pytest.raises(DissectError, match=r"320 and 321 rows.*allow_extra_rows=True"):
        dissect.load_pair(base, other, progress=False)
    for pair in (
        dissect.load_pair(base, other, allow_extra_rows=True, progress=False),
        dissect.load_pair(other, base, allow_extra_rows=True, progress=False),
    ):
        found = dissect.patch(pair, facts.prompts(pair.tokenizer), window=1, progress=False)
        assert (found.values("krs") == 0).all(), "they are the same model"
    for first, second in ((base, other), (other, base)):
        asked = {"forget": facts, "base": first, "measures": ["exact_match", "erasure_depth"], "progress": False}
        with pytest.raises(DissectError, match=r"rows.*allow_extra_rows=True"):
            dissect.evaluate({"other": second}, **asked)
        result = dissect.evaluate({"other": second}, allow_extra_rows=True, **asked)
        assert {row.model for row in result.rows} == {"base", "other"}
    tokens = torch.randint(2, 300, (2, 20), generator=torch.Generator().manual_seed(0))
    model = load(other, progress=False)
    with torch.no_grad():
        whole = model(tokens)
        trim_rows(model, VOCABULARY)
        assert torch.equal(model(tokens), whole[..., :VOCABULARY])
    out = save_hf(model, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["vocab_size"] == VOCABULARY
    assert torch.equal(load(out, progress=False)(tokens), model(tokens))


def test_rows_are_not_dropped_of_models_that_come_and_go(tmp_path):
    path = make_checkpoint("llama", tmp_path / "base")
    with pytest.raises(DissectError, match="leave sequential and mesh out"):
        dissect.load_pair(path, path, allow_extra_rows=True, sequential=True)


def test_tokenizers_that_differ_in_the_bos_alone(tmp_path):
    base, other = make_checkpoint("llama", tmp_path / "base"), make_checkpoint("llama", tmp_path / "other")
    make_tokenizer(bos=False).save_pretrained(other)
    with pytest.raises(
        DissectError, match=r"differ in the BOS alone: that of base puts '<s>' in front, that of unlearned"
    ):
        dissect.load_pair(base, other, progress=False)
    with pytest.raises(DissectError, match=r"that of unlearned puts '<s>' in front, that of base nothing"):
        dissect.load_pair(other, base, progress=False)


def test_what_differs_in_special_tokens_is_named(tmp_path, caplog):
    base = make_checkpoint("llama", tmp_path / "base")
    other = make_checkpoint("llama", tmp_path / "other")
    tokenizer = make_tokenizer(bos=True)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.eos_token = "<s>"
    tokenizer.save_pretrained(other)
    dissect.load_pair(base, base, progress=False)
    assert "the tokenizers" not in caplog.text
    dissect.load_pair(base, other, progress=False)
    assert "only one has the added '[PAD]'" in caplog.text
    assert "differ in the EOS ('</s>' and '<s>')" in caplog.text
