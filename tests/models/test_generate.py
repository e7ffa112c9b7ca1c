"""Greedy continuation: token for token what transformers' own generate gives."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.running import kv_cache
from dissect.models.running.generate import eos_token_ids, generate, greedy
from dissect.models.running.kv_cache import can_decode
from dissect.models.vocabulary import unused_ids
from tests.support.tiny import ARCHITECTURES, VOCABULARY, make_checkpoint

STORIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "stories260k"
TEXTS = ["Once upon a time", "Where was Ada born?", "He", "The capital of France is", "Question: Who? Answer:", "She"]


LENGTHS = (30, 1, 11, 61, 4, 11)


def reference(
    directory: Path,
    ids: list[list[int]],
    *,
    new: int,
    eos: int | list[int] | None,
    dtype: torch.dtype = torch.float32,
    unused: Sequence[int] = (),
) -> list[list[int]]:
    """One prompt at a time through transformers, the EOS cut off."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()
    limit = model.config.max_position_embeddings
    limit = min(limit, getattr(model.config, "original_max_position_embeddings", limit))  # LongRoPE: no further
    out = []
    for row in ids:
        options = {"max_new_tokens": min(new, limit - len(row)), "do_sample": False, "eos_token_id": eos}
        mask = torch.ones(1, len(row), dtype=torch.long)
        if unused:  # with a tokenizer, ids that no token has are no answers
            options["suppress_tokens"] = unused
        whole = model.generate(torch.tensor([row]), attention_mask=mask, pad_token_id=0, **options)
        out.append(cut(whole[0, len(row) :].tolist(), [] if eos is None else [eos] if isinstance(eos, int) else eos))
    return out


def cut(row: list[int], ends: list[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]


def random_prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(2, VOCABULARY, (length,), generator=generator) for length in LENGTHS]


def lists(rows: list[torch.Tensor]) -> list[list[int]]:
    return [row.tolist() for row in rows]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_transformers(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows of many lengths in one batch, which end at many steps; the window is 6 tokens, the context 64."""
    make_checkpoint(architecture, tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    assert can_decode(model)
    monkeypatch.setattr(kv_cache, "_GROWTH", 2)  # room is added at the second step
    prompts = random_prompts()
    free = reference(tmp_path / "m", lists(prompts), new=14, eos=None, dtype=torch.float64)
    assert [len(row) for row in free] == [14, 14, 14, 3, 14, 14]
    assert lists(greedy(model, prompts, max_new_tokens=14, progress=False)) == free
    ends = sorted({free[0][5], free[2][0], free[4][9]})
    expected = [cut(row, ends) for row in free]
    assert len({len(row) for row in expected}) > 2
    for batch_size in (1, 4, 32):
        got = greedy(model, prompts, max_new_tokens=14, eos_ids=ends, batch_size=batch_size, progress=False)
        assert lists(got) == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_whole_text(architecture: str, tmp_path: Path):
    """Every logit of every step, against a plain pass over prompt and answer; rows leave as they reach the context."""
    make_checkpoint(architecture, tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    prompts, seen = random_prompts(), defaultdict(list)

    def choose(logits: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
        for row, each in zip(rows, logits, strict=True):
            assert len(seen[row]) == step
            seen[row].append(each)
        return (logits.argmax(-1) + step) % VOCABULARY  # no text of its own liking, so that steps differ

    new = generate(model, prompts, choose, max_new_tokens=8, progress=False)
    assert [len(row) for row in new] == [8, 8, 8, 3, 8, 8]
    for i, (prompt, added) in enumerate(zip(prompts, new, strict=True)):
        with torch.no_grad():
            whole = model(torch.cat([prompt, added[:-1]])[None], padding_side="right")[0, len(prompt) - 1 :]
        torch.testing.assert_close(torch.stack(seen[i]), whole, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral", "gpt_neo"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_text_in_float32(architecture: str, batch_size: int, tmp_path: Path):
    make_checkpoint(architecture, tmp_path / "m")
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    ids = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    free = reference(tmp_path / "m", ids, new=20, eos=None, unused=unused_ids(model).tolist())
    got = greedy(model, [torch.tensor(row) for row in ids], max_new_tokens=20, batch_size=batch_size, progress=False)
    assert lists(got) == free
    ends = [free[0][7], free[3][2]]  # an EOS that comes up
    got = greedy(model, [torch.tensor(row) for row in ids], max_new_tokens=20, eos_ids=ends, progress=False)
    assert lists(got) == reference(tmp_path / "m", ids, new=20, eos=ends, unused=unused_ids(model).tolist())
    assert all(row.device.type == "cpu" for row in got) and min(map(len, got)) < 20


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "olmo2", "gpt2", "neox"])
def test_narrow_formats(architecture: str, tmp_path: Path):
    """In bfloat16 the first logits are those of the model up to its rounding, and ids are given back."""
    make_checkpoint(architecture, tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="bfloat16", device="cpu", progress=False)
    prompts = random_prompts()
    firsts = []

    def choose(logits: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
        assert logits.dtype == torch.float32
        firsts.extend(zip(rows, logits, strict=True) if step == 0 else [])
        return logits.argmax(-1)

    assert [len(row) for row in generate(model, prompts, choose, max_new_tokens=8, progress=False)][3] == 3
    for row, logits in firsts:
        whole = model(prompts[row][None], padding_side="right")[0, -1].detach().float()
        torch.testing.assert_close(logits, whole, atol=0.03 * float(whole.abs().max()), rtol=0)


def naive(model: HookedTransformer, prompts: list[torch.Tensor], new: int) -> list[list[int]]:
    """Without any cache."""
    out = []
    for prompt in prompts:
        text = prompt
        for _ in range(new):
            text = torch.cat([text, model(text[None], padding_side="right")[0, -1:].argmax(-1)])
        out.append(text[len(prompt) :].tolist())
    return out


def test_hooks_fire_and_count(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    prompts, fired = [prompt for prompt in random_prompts() if len(prompt) < 50], []
    without = lists(greedy(model, prompts, max_new_tokens=5, progress=False))

    def double(activation: torch.Tensor, hook: object) -> torch.Tensor:
        fired.append(len(activation))
        return 2 * activation

    with model.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", double)]):
        assert not can_decode(model)
        got = lists(greedy(model, prompts, max_new_tokens=5, progress=False))
        assert fired == [1] * 5 + [2] * 5 + [1] * 10  # by length, the longest first
        assert got == naive(model, prompts, 5) != without
    handle = model.blocks[1].register_forward_hook(lambda module, given, out: 0.5 * out)
    assert lists(greedy(model, prompts, max_new_tokens=5, progress=False)) == naive(model, prompts, 5) != without
    handle.remove()
    assert can_decode(model)
    assert lists(greedy(model, prompts, max_new_tokens=5, progress=False)) == without == naive(model, prompts, 5)


def test_parameters_are_those_of_the_moment(tmp_path: Path):
    make_checkpoint("gemma2", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    prompts = random_prompts()[:3]
    before = lists(greedy(model, prompts, max_new_tokens=5, progress=False))
    with torch.no_grad():
        model.blocks[1].ln2_post.w -= 3
        model.blocks[0].attn._W_K *= -1
    assert lists(greedy(model, prompts, max_new_tokens=5, progress=False)) == naive(model, prompts, 5) != before


def test_other_kinds_of_model_run_as_they_are(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    prompts = random_prompts()
    expected = lists(greedy(model, prompts, max_new_tokens=5, progress=False))
    model.set_use_attn_result(True)
    assert not can_decode(model)
    assert lists(greedy(model, prompts, max_new_tokens=5, progress=False)) == expected


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
    expected = reference(
        tmp_path / "m", ids, new=6, eos=sorted(eos_token_ids(model)), unused=unused_ids(model).tolist()
    )
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
