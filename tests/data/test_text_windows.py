"""Texts longer than the context: windows in which every token is scored exactly once."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dissect
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.measures.behaviour.text_perplexity import perplexity_of_texts
from dissect.measures.examined import Examined, Settings
from tests.data.test_prompts import sentencepiece
from tests.support.tiny import CONTEXT, SENTENCES, make_checkpoint, make_tokenizer

TEXT = " ".join(SENTENCES * 3)
TOKENIZERS = {
    "bos": lambda: make_tokenizer(bos=True),
    "no bos": lambda: make_tokenizer(bos=False),
    "bos and eos": lambda: sentencepiece(eos=True),
}


@pytest.mark.parametrize("stride", [None, 1, 7])
@pytest.mark.parametrize("size", [12, 33])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_token_is_scored_once_and_in_its_place(name: str, size: int, stride: int | None):
    tokenizer = TOKENIZERS[name]()
    facts = Facts([Fact(text=TEXT), Fact(text="He likes.")])
    whole = facts.prompts(tokenizer)
    cut = facts.prompts(tokenizer, max_length=size, stride=stride)
    rows = [i for i, fact in enumerate(cut.facts) if fact is facts[0]]
    assert int(cut.lengths.max()) <= size and len(cut) == len(rows) + 1
    scored = [cut.tokens[i][cut.answer_mask[i]].tolist() for i in rows]
    assert [token for row in scored for token in row] == whole.tokens[0][whole.answer_mask[0]].tolist()
    assert all(scored) and not cut.answer_mask[:, 0].any()
    # each window is a stretch of the text after the special tokens that the tokenizer puts first
    lead = 0 if name == "no bos" else 1
    ids = whole.tokens[0, : whole.lengths[0]].tolist()
    for i in rows:
        row = cut.tokens[i, : cut.lengths[i]].tolist()
        assert row[:lead] == ids[:lead]
        assert any(ids[at : at + len(row) - lead] == row[lead:] for at in range(lead, len(ids)))
    assert "".join(cut.answer_texts[i] for i in rows).replace(" ", "") in TEXT.replace(" ", "")
    last = len(cut) - 1  # what fits stays as it is
    assert cut.tokens[last, : cut.lengths[last]].tolist() == whole.tokens[1, : whole.lengths[1]].tolist()


def test_questions_are_never_cut():
    tokenizer = make_tokenizer(bos=True)
    with pytest.raises(DissectError, match=r"the context has 20: shorten it or leave it out$"):
        Facts([Fact(question="q" * 30, answer="a")]).prompts(tokenizer, n_ctx=20, max_length=10)
    with pytest.raises(DissectError, match="or cut it into windows with max_length"):
        Facts([Fact(text=TEXT)]).prompts(tokenizer, n_ctx=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 1}, "max_length must be a whole number of at least 2"),
        ({"max_length": 10, "stride": 0}, "stride must be a whole number of at least 1"),
        ({"stride": 5}, "give max_length as well"),
        ({"max_length": 10, "stride": 10}, "can begin at most 9 tokens apart, got a stride of 10"),
    ],
)
def test_sizes_that_leave_tokens_out(options: dict[str, Any], message: str):
    with pytest.raises(DissectError, match=message):
        Facts([Fact(text=TEXT)]).prompts(make_tokenizer(bos=True), **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return dissect.load(make_checkpoint("llama", tmp_path_factory.mktemp("windows") / "m"), progress=False)


def test_perplexity_of_a_text_longer_than_the_context(model):
    facts = Facts([Fact(text=TEXT), Fact(text=SENTENCES[0])])

    def examined(**options: Any) -> float:
        settings = Settings(options={f"perplexity.{name}": value for name, value in options.items()})
        found = perplexity_of_texts(Examined(model, {"texts": facts}, name="m", settings=settings, set="texts"))
        assert found.n == 2
        return found.value

    # by hand, window by window
    ids = model.tokenizer(TEXT)["input_ids"]
    bos, rest, room = ids[:1], ids[1:], CONTEXT - 1
    pieces = [bos + rest[at : at + room] for at in range(0, len(rest), room)] + [
        model.tokenizer(SENTENCES[0])["input_ids"]
    ]
    total, n = 0.0, 0
    for piece in pieces:
        with torch.no_grad():
            logs = model(torch.tensor([piece]), padding_side="right")[0].log_softmax(-1)
        total -= sum(float(logs[i, token]) for i, token in enumerate(piece[1:]))
        n += len(piece) - 1
    assert examined() == pytest.approx(math.exp(total / n), rel=1e-4)
    assert n == sum(len(model.tokenizer(fact.text)["input_ids"]) - 1 for fact in facts)
    assert examined(max_length=20, stride=5) != pytest.approx(examined(), rel=1e-6)
    short = Facts([Fact(text=SENTENCES[0])])
    fits = Examined(model, {"texts": short}, name="m", set="texts")
    assert np.isclose(perplexity_of_texts(fits).value, np.exp(-fits.scores.logprob.mean()))


def test_training_cuts_texts_and_says_how(tmp_path: Path):
    path = make_checkpoint("llama", tmp_path / "m")
    model = dissect.load(path, progress=False)
    how: dict[str, Any] = {"method": "learn", "lr": 1e-3, "epochs": 1, "batch_size": 1, "progress": False}
    run = dissect.unlearn(model, forget=Facts([Fact(text=TEXT)]), **how)
    n = len(model.tokenizer(TEXT)["input_ids"]) - 1
    assert len(run.records) == math.ceil(n / (CONTEXT - 1)) and "max_length" not in run.config.to_dict()
    run = dissect.unlearn(dissect.load(path, progress=False), forget=Facts([Fact(text=TEXT)]), max_length=17, **how)
    assert len(run.records) == math.ceil(n / 16) and run.config.to_dict()["max_length"] == 17
    with pytest.raises(DissectError, match=r"forget: fact 0 .* shorten it or leave it out"):
        dissect.unlearn(model, forget=Facts([Fact(question="q" * 200, answer="a")]), **how)
