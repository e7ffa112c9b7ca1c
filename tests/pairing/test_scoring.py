"""Score matrices against transformers, and prefixes that are read once against whole passes."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import dissect
from dissect.data.facts import Fact, Facts
from dissect.models.running.kv_cache import can_decode
from dissect.pairing.asking import Asking
from dissect.pairing.scoring import score_sheets
from dissect.pairing.tested import paired

ANSWERS = ("by the sea", "by the river", "in London", "in a small house by the sea", "a baker")
FACTS = Facts(
    Fact(question=f"Where is {name}?", answer=answer, extra={"subject": name, "group": "place"})
    for name, answer in zip(("Lily", "Tom", "Ada Lovelace", "Ben", "Sue"), ANSWERS, strict=True)
)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_as_transformers(tiny_pair, architecture):
    path, _ = tiny_pair(architecture)
    model = dissect.load(path, progress=False)
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    made = paired(FACTS, n_folds=1)
    (scores,) = score_sheets(model, made.sheets, Asking(batch_size=3))
    (sheet,) = made.sheets
    for ask in sheet.asks:
        for column, answer in zip(ask.columns, ask.answers, strict=True):
            prompt = f"Question: {ask.asked()[0].fact.question}\nAnswer:"
            whole = model.tokenizer(f"{prompt} {answer}", return_offsets_mapping=True)
            ids, ends = torch.tensor([whole["input_ids"]]), [end for _, end in whole["offset_mapping"]]
            with torch.no_grad():
                logs = plain(ids).logits.double().log_softmax(-1)[0]
            told = sum(
                float(logs[t - 1, ids[0, t]])
                for t in range(1, ids.shape[1])
                if ends[t] > len(prompt) and ids[0, t] not in model.tokenizer.all_special_ids
            )
            assert scores[ask.row, column] == pytest.approx(told, abs=2e-4)


@pytest.mark.parametrize("wording", ["as asked", "held_out"])
def test_prefixes_read_once_are_whole_passes(demo, wording):
    model = dissect.load(demo / "npo", progress=False)
    made = paired(dissect.Facts.read(demo / "forget.jsonl"))
    assert can_decode(model)
    once = score_sheets(model, made.sheets, Asking(batch_size=5), wording=wording)
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda value, hook: value)]):
        assert not can_decode(model)
        whole = score_sheets(model, made.sheets, Asking(), wording=wording)
    for first, second in zip(once, whole, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)


def test_several_wordings_are_averaged(demo):
    model = dissect.load(demo / "base", progress=False)
    made = paired(dissect.Facts.read(demo / "forget.jsonl"))
    both = score_sheets(model, made.sheets, Asking(), change=lambda question: (question, question))
    once = score_sheets(model, made.sheets, Asking())
    for first, second in zip(both, once, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)
    before = score_sheets(
        model,
        made.sheets,
        Asking(),
        change=lambda q: [q.after("Question: Who?\nAnswer: Nobody.\n\n", Asking().template)],
    )
    assert any(np.abs(first - second).max() > 1e-3 for first, second in zip(before, once, strict=True))
