"""Random continuation: transformers' distribution, and streams that no other prompt touches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from dissect.errors import DissectError
from dissect.models.files.load import load
from dissect.models.running.generate import greedy
from dissect.models.running.sampling import _drawn, distribution, sample
from tests.support.tiny import VOCABULARY, make_checkpoint

PUBLISHED = {"top_p": 0.95, "top_k": 50, "temperature": 1.0}


def prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, VOCABULARY, (length,), generator=generator) for length in (9, 2, 17, 9, 40)]


@pytest.mark.parametrize("top_p", [None, 0.95, 0.3])
@pytest.mark.parametrize("top_k", [None, 1, 50, 10_000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_distribution_is_that_of_transformers(top_p: float | None, top_k: int | None, temperature: float):
    logits = 3 * torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(0))
    logits[2, 7:30] = logits[2].topk(50).values[-1]  # ties at the border of the first fifty
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    warpers += [] if top_k is None else [TopKLogitsWarper(top_k)]
    warpers += [] if top_p is None else [TopPLogitsWarper(top_p)]
    expected = warpers(None, logits.clone()).double().softmax(-1)
    ids, probabilities = distribution(logits, top_p=top_p, top_k=top_k, temperature=temperature)
    found = torch.zeros_like(expected).scatter_(1, ids, probabilities)
    if top_p is not None:  # among equal logits at the border either may be left out
        tied = slice(7, 30)
        assert int((found[2, tied] > 0).sum()) == int((expected[2, tied] > 0).sum())
        found[2, tied] = expected[2, tied] = 0
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)


def test_shares_of_the_unit_interval():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]], dtype=torch.float64)
    numbers = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert _drawn(probabilities.expand(6, 6), numbers).tolist() == [1, 1, 3, 3, 4, 4]
    thirds = torch.full((1, 3), 1 / 3, dtype=torch.float64) * 3.3
    assert _drawn(thirds, numbers[-1:]).tolist() == [2]


def test_frequencies_of_first_tokens(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    [prompt], n = prompts()[:1], 4000
    drawn = sample(model, [prompt] * n, max_new_tokens=1, top_k=8, batch_size=500, progress=False)
    counts = np.bincount(torch.cat(drawn).numpy(), minlength=VOCABULARY)
    with torch.no_grad():
        logits = model(prompt[None], padding_side="right")[0, -1:]
    ids, probabilities = distribution(logits, top_p=None, top_k=8, temperature=1.0)
    assert counts[ids[0]].sum() == n
    assert chisquare(counts[ids[0]], n * probabilities[0].numpy()).pvalue > 1e-3


def test_a_sample_is_its_prompts_own(tmp_path: Path):
    make_checkpoint("gpt_neo", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    asked = prompts()
    settings = {"max_new_tokens": 12, "progress": False, **PUBLISHED}
    rows = [row.tolist() for row in sample(model, asked, **settings)]
    assert rows == [row.tolist() for row in sample(model, asked, batch_size=2, **settings)]
    first = [row.tolist() for row in sample(model, asked[:3], **settings)]
    assert rows[:3] == first
    ends = [rows[0][4], rows[2][1]]
    cut = [row[: next((i for i, token in enumerate(row) if token in ends), 12)] for row in rows]
    assert cut == [row.tolist() for row in sample(model, asked, eos_ids=ends, **settings)]
    with model.hooks(fwd_hooks=[("hook_embed", lambda activation, hook: activation)]):
        assert rows == [row.tolist() for row in sample(model, asked, **settings)]
    assert rows != [row.tolist() for row in sample(model, asked, seed=1, **settings)]
    same = [row.tolist() for row in sample(model, [asked[0]] * 3, **settings)]
    assert len({tuple(row) for row in same}) == 3 and same[0] == rows[0]


def test_one_candidate_is_greedy(tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float64", device="cpu", progress=False)
    expected = [row.tolist() for row in greedy(model, prompts(), max_new_tokens=6, progress=False)]
    for narrow in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}):
        got = sample(model, prompts(), max_new_tokens=6, progress=False, **narrow)
        assert [row.tolist() for row in got] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_refuses(settings: dict, message: str, tmp_path: Path):
    make_checkpoint("llama", tmp_path / "m", tokenizer=False)
    model = load(tmp_path / "m", dtype="float32", device="cpu", progress=False)
    with pytest.raises(DissectError, match=message):
        sample(model, prompts(), **{"max_new_tokens": 3, "progress": False, **settings})
