"""Greedy continuation: token for token what transformers' own generate gives."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.models.generate import eos_token_ids, greedy
from dissect.models.load import load
from tests.tiny import make_checkpoint

STORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "stories260k"
TEXTS = ["Once upon a time", "Where was Ada born?", "He", "The capital of France is", "Question: Who? Answer:", "She"]


def reference(directory: Path, ids: list[list[int]], *, new: int, eos: int | list[int] | None) -> list[list[int]]:
    """One prompt at a time through transformers, the EOS cut off."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    out = []
    for row in ids:
        options = {"max_new_tokens": new, "do_sample": False, "eos_token_id": eos, "pad_token_id": 0}
        whole = model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long), **options)
        ends = [] if eos is None else [eos] if isinstance(eos, int) else eos
        added = whole[0, len(row) :].tolist()
        stop = next((i for i, token in enumerate(added) if token in ends), len(added))
        out.append(added[:stop])
    return out


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral", "gpt_neo"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_equals_transformers(architecture: str, batch_size: int, tmp_path: Path):
    make_checkpoint(architecture, tmp_path / "m")
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    ids = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    free = reference(tmp_path / "m", ids, new=20, eos=None)
    got = greedy(model, [torch.tensor(row) for row in ids], max_new_tokens=20, batch_size=batch_size, progress=False)
    assert [row.tolist() for row in got] == free
    ends = [free[0][7], free[3][2]]  # an EOS that comes up
    got = greedy(model, [torch.tensor(row) for row in ids], max_new_tokens=20, eos_ids=ends, progress=False)
    assert [row.tolist() for row in got] == reference(tmp_path / "m", ids, new=20, eos=ends)
    assert all(row.device.type == "cpu" for row in got) and min(map(len, got)) < 20


def test_the_pad_token_in_a_prompt_changes_nothing(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m")
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    ids = model.tokenizer("Once upon a time")["input_ids"]
    before = greedy(model, [torch.tensor(ids)], max_new_tokens=8, progress=False)[0]
    model.tokenizer.pad_token = model.tokenizer.convert_ids_to_tokens(ids[2])
    model.tokenizer.padding_side = "left"
    after = greedy(model, [torch.tensor(ids)], max_new_tokens=8, progress=False)[0]
    assert torch.equal(before, after)


def test_the_context_ends_the_answer(tmp_path: Path):
    make_checkpoint("gpt2", tmp_path / "m")
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    n = model.cfg.n_ctx
    got = greedy(model, [torch.full((n - 3,), 5), torch.full((n - 1,), 5)], max_new_tokens=9, progress=False)
    assert [len(row) for row in got] == [3, 1]
    with pytest.raises(DissectError, match=f"prompt 0 has {n} tokens, the context {n}"):
        greedy(model, [torch.full((n,), 5)], max_new_tokens=9, progress=False)
    with pytest.raises(DissectError, match="prompt 0 has 0 tokens"):
        greedy(model, [torch.empty(0, dtype=torch.int64)], max_new_tokens=9, progress=False)
    with pytest.raises(DissectError, match="max_new_tokens"):
        greedy(model, [torch.tensor([5])], max_new_tokens=0, progress=False)


def test_the_models_own_answers(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m")
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    facts = Facts(
        [
            Fact(question="Where was Ada born?", extra={"subject": "Ada"}),
            Fact(prompt="Once upon", completion=" not asked"),
            Fact(question="Who?", answer="not asked"),
        ]
    )
    prompts = facts.prompts(model, answers="base", max_new_tokens=6, progress=False)
    template = "Question: {}\nAnswer:"
    texts = [template.format("Where was Ada born?"), "Once upon", template.format("Who?")]
    ids = [model.tokenizer(text)["input_ids"] for text in texts]
    expected = reference(tmp_path / "m", ids, new=6, eos=sorted(eos_token_ids(model)))
    for i in range(3):
        assert prompts.tokens[i, : prompts.lengths[i]].tolist() == ids[i] + expected[i]
        assert prompts.tokens[i][prompts.answer_mask[i]].tolist() == expected[i]
        assert int(prompts.prompt_lengths[i]) == len(ids[i])
    assert prompts.prompt_texts == tuple(texts) and prompts.answers == "base"
    assert prompts.subject_mask[0].any() and prompts.published_counts(1).tolist() == [len(row) for row in expected]
    gold = facts[2:].prompts(model, progress=False)
    assert torch.equal(gold.tokens, facts[2:].prompts(model.tokenizer).tokens)
    first = expected[2][0]
    model.checkpoint.config["eos_token_id"] = [first, 1]
    assert eos_token_ids(model) >= {first, 1}
    with pytest.raises(DissectError, match="answers nothing to prompt 0"):
        facts[2:].prompts(model, answers="base", progress=False)
    with pytest.raises(DissectError, match="plain text has no prompt"):
        Facts([Fact(text="Once upon")]).prompts(model, answers="base", progress=False)
    with pytest.raises(DissectError, match="no room for an answer"):
        Facts([Fact(prompt="x y " * 200)]).prompts(model, answers="base", progress=False)


@pytest.mark.skipif(not STORIES.is_dir(), reason="the checkpoint is not here")
def test_real_checkpoint():
    model = load(STORIES, dtype="float32", device="cpu", progress=False)
    text = "Once upon a time, there was a little girl named"
    ids = AutoTokenizer.from_pretrained(STORIES)(text)["input_ids"]
    facts = Facts([Fact(prompt=text)])
    prompts = facts.prompts(model, answers="base", max_new_tokens=60, progress=False)
    [expected] = reference(STORIES, [ids], new=60, eos=2)
    assert prompts.tokens[0][prompts.answer_mask[0]].tolist() == expected
    assert prompts.answer_texts[0].startswith(" Lily")
