"""Prompts: the tokens are the tokenizer's own, the answer's tokens are exactly those that reach past the prompt."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dissect.data.facts import Fact, Facts
from dissect.data.tokenise import Encoded, answer_start, subject_positions
from dissect.errors import DissectError
from tests.support.tiny import SENTENCES, make_tokenizer

STORIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "stories260k"
FACTS = Facts(
    [
        Fact(question="Where was Ada Lovelace born?", answer="In London.", extra={"subject": "Ada Lovelace"}),
        Fact(question="Wer ist Jürgen 漢字?", answer="ein Bäcker 漢字 🎈", extra={"subject": "Jürgen 漢字"}),
        Fact(prompt="The capital of France is", completion=" Paris"),
        Fact(prompt="Once upon a ti", completion="me, there was"),
        Fact(prompt="Lily likes to ", completion="swim"),
        Fact(text="He likes to swim, to read and to paint.", extra={"subject": "paint"}),
    ]
)


def sentencepiece(*, eos: bool = False) -> PreTrainedTokenizerFast:
    """As Llama 2 has it: a space in front, spaces as part of the words, unknown characters as bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=tokens, show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    model = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    )
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if eos else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def characters() -> PreTrainedTokenizerFast:
    """One token a character, lower-cased and stripped of accents: a tokenizer that changes the text."""
    alphabet = sorted({c for text in [*SENTENCES, "\n?:"] for c in text.lower()})
    tokenizer = Tokenizer(
        models.WordLevel({"<unk>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


TOKENIZERS = {
    "byte-level, bos": lambda: make_tokenizer(bos=True),
    "byte-level": lambda: make_tokenizer(bos=False),
    "sentencepiece": sentencepiece,
    "sentencepiece, eos": lambda: sentencepiece(eos=True),
    "characters": characters,
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def test_tokens_are_the_tokenizers_own(tokenizer: Any):
    prompts = FACTS.prompts(tokenizer)
    assert prompts.texts[0] == "Question: Where was Ada Lovelace born?\nAnswer: In London."
    assert prompts.texts[3] == "Once upon a time, there was"
    for i, text in enumerate(prompts.texts):
        assert prompts.tokens[i, : prompts.lengths[i]].tolist() == tokenizer(text)["input_ids"]


def test_answer_tokens_are_those_that_reach_past_the_prompt(tokenizer: Any):
    prompts = FACTS.prompts(tokenizer)
    for i in range(5):
        out = tokenizer(prompts.texts[i], return_offsets_mapping=True, return_special_tokens_mask=True)
        boundary = len(prompts.prompt_texts[i])
        expected = [
            not special and stop > boundary
            for (_, stop), special in zip(out["offset_mapping"], out["special_tokens_mask"], strict=True)
        ]
        assert prompts.answer_mask[i, : len(expected)].tolist() == expected
        assert not prompts.answer_mask[i, len(expected) :].any()
        assert int(prompts.prompt_lengths[i]) == expected.index(True)
        # what stands before the answer never holds a character of it
        before = tokenizer.decode(prompts.tokens[i, : prompts.prompt_lengths[i]], skip_special_tokens=True)
        assert len(before) <= boundary
    specials = sum(tokenizer("He likes", return_special_tokens_mask=True)["special_tokens_mask"][1:])
    assert prompts.answer_mask[5].sum() == prompts.lengths[5] - 1 - specials and not prompts.answer_mask[5, 0]


def test_masks_fit_together(tokenizer: Any):
    prompts = FACTS.prompts(tokenizer)
    assert torch.equal(prompts.predicting_mask[:, :-1], prompts.answer_mask[:, 1:])
    assert not (prompts.prompt_mask & prompts.answer_mask).any()
    assert torch.equal(prompts.prompt_mask.sum(1), prompts.prompt_lengths)
    assert torch.equal(prompts.labels != -100, prompts.answer_mask)
    assert torch.equal(prompts.labels[prompts.answer_mask], prompts.tokens[prompts.answer_mask])
    for i in (0, 1):
        marked = tokenizer.decode(prompts.tokens[i][prompts.subject_mask[i]]).strip()
        out = tokenizer(prompts.texts[i], return_offsets_mapping=True)["offset_mapping"]
        where = prompts.subject_mask[i].nonzero()[:, 0].tolist()
        text = prompts.texts[i][out[where[0]][0] : out[where[-1]][1]].strip()
        assert text == FACTS[i].extra["subject"], marked
        assert not (prompts.subject_mask[i] & ~prompts.prompt_mask[i]).any()
    assert not prompts.subject_mask[2:5].any() and prompts.subject_mask[5].any()


def test_a_token_across_the_boundary_belongs_to_the_answer():
    tokenizer = make_tokenizer(bos=True)
    prompts = Facts([Fact(prompt="Once upon a ti", completion="me")]).prompts(tokenizer)
    answer = tokenizer.decode(prompts.tokens[0][prompts.answer_mask[0]])
    assert answer == "ime"  # the tokenizer merges across the boundary
    assert int(prompts.prompt_lengths[0]) < len(tokenizer("Once upon a ti")["input_ids"])


def test_pieces_of_one_character_and_empty_spans_stay_together():
    shared = Encoded((9, 1, 2, 3, 4, 9), ((0, 0), (0, 4), (4, 5), (4, 5), (4, 5), (0, 0)), (True, *[False] * 4, True))
    assert answer_start(shared, 4) == 2 and shared.trailing == 1
    empty = Encoded((1, 2, 3), ((0, 4), (5, 5), (5, 6)), (False,) * 3)
    assert answer_start(empty, 4) == 1  # a trimmed space, reported as empty behind itself
    assert answer_start(empty, 6) == 3
    assert subject_positions(empty, "Anna Ann x", "Ann", end=3) == [2]
    assert subject_positions(empty, "Anna", "Ann", end=3) == []


def test_a_trailing_eos_stays_and_is_not_scored():
    prompts = FACTS.prompts(sentencepiece(eos=True))
    last = prompts.lengths - 1
    rows = torch.arange(len(prompts))
    assert (prompts.tokens[rows, last] == 2).all() and not prompts.answer_mask[rows, last].any()


def test_joining():
    tokenizer = make_tokenizer(bos=True)
    fact = Facts([Fact(question="Who?", answer="Lily", extra={"place": "Paris"})])
    texts = {
        "Question: {question}\nAnswer:": "Question: Who?\nAnswer: Lily",
        "{question}\n": "Who?\nLily",
        "In {place}: {question} ": "In Paris: Who? Lily",
        "{{x}} {question}": "{x} Who? Lily",
    }
    for template, text in texts.items():
        assert fact.prompts(tokenizer, template=template).texts == (text,)
    assert Facts([Fact(question="{q}?", answer="\nLily")]).prompts(tokenizer).texts == (
        "Question: {q}?\nAnswer:\nLily",
    )


@pytest.mark.parametrize(
    ("fact", "options", "message"),
    [
        (Fact(question="q"), {}, "fact 0 .'q'.: it has no answer"),
        (Fact(question="q", answer="a"), {"template": "x:"}, "does not use {question}"),
        (Fact(question="q", answer="a"), {"template": "{question} {who}"}, "asks for {who}, this fact has question, n"),
        (Fact(question="q", answer="a"), {"template": "{question} {}"}, "asks for {}"),
        (Fact(question="q", answer="a"), {"template": "{question.x}"}, "does not use {question}"),
        (Fact(question="q", answer="a"), {"template": "{question"}, "malformed"),
        (Fact(question="q", answer="a" * 50), {"n_ctx": 20}, "the context has 20"),
        (Fact(question="q", answer="a"), {"answers": "base"}, "needs a model"),
        (Fact(prompt="q", completion="\u0301"), {"tokenizer": characters}, "becomes no token"),
        (Fact(text="a"), {"tokenizer": characters}, "becomes no token"),
    ],
)
def test_what_cannot_be_asked(fact: Fact, options: dict[str, Any], message: str):
    fact = Fact(**{k: getattr(fact, k) for k in ("question", "answer", "prompt", "completion", "text")}, extra={"n": 1})
    tokenizer = options.pop("tokenizer", lambda: make_tokenizer(bos=True))()
    with pytest.raises(DissectError) as caught:
        Facts([fact]).prompts(tokenizer, **options)
    assert message.replace(".'", "('").replace("'.", "')") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_facts_and_no_fast_tokenizer():
    with pytest.raises(DissectError, match="no facts"):
        Facts().prompts(make_tokenizer(bos=True))
    with pytest.raises(DissectError, match="got str"):
        FACTS.prompts("gpt2")

    with pytest.raises(DissectError, match="slow tokenizer"):
        FACTS.prompts(type("Slow", (), {"is_fast": False, "__call__": lambda self, text: None})())


def test_rows_can_be_chosen_and_batched():
    prompts = FACTS.prompts(make_tokenizer(bos=True))
    batches = list(prompts.batches(4))
    assert [len(batch) for batch in batches] == [4, 2]
    assert sum((batch.facts for batch in batches), ()) == prompts.facts
    for batch in [*batches, prompts[[4, 0]], prompts[-1], prompts[torch.tensor([5])], prompts[1:3]]:
        assert batch.tokens.shape[1] == batch.lengths.max()
    chosen = prompts[[4, 0]]
    assert chosen.texts == (prompts.texts[4], prompts.texts[0])
    for mine, theirs in ((0, 4), (1, 0)):
        n = int(chosen.lengths[mine])
        assert torch.equal(chosen.tokens[mine, :n], prompts.tokens[theirs, :n])
        assert torch.equal(chosen.answer_mask[mine, :n], prompts.answer_mask[theirs, :n])
    assert len(prompts[6:]) == 0 and prompts[6:].tokens.shape == (0, 0)
    assert prompts[prompts.lengths > 20].facts == tuple(
        f for f, n in zip(prompts.facts, prompts.lengths, strict=True) if n > 20
    )
    assert len(prompts[[]]) == 0
    with pytest.raises(IndexError):
        prompts[6]
    with pytest.raises(DissectError, match="batch_size"):
        list(prompts.batches(0))


def test_fingerprint_is_of_the_content_alone():
    tokenizer = make_tokenizer(bos=True)
    prompts = FACTS.prompts(tokenizer)
    padded = FACTS.prompts(tokenizer)
    outside = torch.arange(padded.tokens.shape[1]) >= padded.lengths[:, None]
    padded.tokens[outside] = 7
    assert prompts.fingerprint() == padded.fingerprint() == prompts[:].fingerprint()
    assert prompts[[0, 1]].fingerprint() != prompts[[1, 0]].fingerprint()
    assert FACTS.prompts(make_tokenizer(bos=False)).fingerprint() != prompts.fingerprint()
    prompts.answer_mask[0, -1] ^= True
    assert prompts.fingerprint() != padded.fingerprint()


def test_published_counts_subtract_the_left_padding_twice():
    tokenizer = make_tokenizer(bos=True)
    facts = Facts(
        Fact(prompt="He likes" + " to swim" * n, completion=", to read and to paint old houses by the sea.")
        for n in (1, 3, 2, 1)
    )
    prompts = facts.prompts(tokenizer)
    n = prompts.answer_lengths
    pad = prompts.prompt_lengths.max() - prompts.prompt_lengths
    assert prompts.published_counts().tolist() == (n - pad).tolist() and pad.max() > 0
    assert int(prompts.published_counts(batch_size=3)[3]) == int(n[3])
    stored = Facts(Fact(prompt=f.prompt, completion=f.completion, extra={"answers_tokens_num": 5}) for f in facts)
    assert stored.prompts(tokenizer).published_counts().tolist() == [5] * 4
    short = Facts([Fact(prompt="He" + " likes to swim" * 9, completion=" x"), Fact(prompt="He", completion=" x")])
    with pytest.raises(DissectError, match="published count of prompt 1"):
        short.prompts(tokenizer).published_counts()


def test_unknown_words_in_an_answer_are_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        Facts([Fact(prompt="he", completion=" §")]).prompts(characters())
    assert "1 of 1 answers hold tokens unknown" in caplog.text


def test_shown_in_terminal_and_notebook():
    facts = Facts([Fact(question="Who is <b>Lily</b>?", answer="</span><script>")] * 7)
    prompts = facts.prompts(make_tokenizer(bos=True))
    assert repr(prompts) == prompts.summary() and prompts.summary().startswith("Prompts(7, gold answers, ")
    assert "... and 2 more" in repr(prompts)
    html = prompts._repr_html_()
    assert "<script>" not in html and "<b>" not in html and html.count("background") >= 5
    assert repr(prompts[7:]) == "Prompts(0)" and prompts[7:]._repr_html_()


@pytest.mark.skipif(not STORIES.is_dir(), reason="the checkpoint is not here")
def test_real_tokenizer():
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    prompts = FACTS.prompts(tokenizer)
    for i, text in enumerate(prompts.texts):
        assert prompts.tokens[i, : prompts.lengths[i]].tolist() == tokenizer(text)["input_ids"]
        answer = tokenizer.decode(prompts.tokens[i][prompts.answer_mask[i]])
        assert answer.strip() == prompts.answer_texts[i].strip() or i == 3
