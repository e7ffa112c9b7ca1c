"""Texts as tokens with labels: whole texts to learn, and answers to ask for, to unlearn or to put in their place."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dissect.data.fact import Fact
from dissect.data.render import DEFAULT_TEMPLATE, render

IGNORED = -100
Wording = Literal["question", "paraphrases", "held_out"]
Asked = tuple[str, str]
"""A prompt and the answer that follows it, joining space included."""


@dataclass(frozen=True)
class Rows:
    """Texts, right-padded; under causal attention what stands in the padding changes nothing before it."""

    tokens: Tensor
    """(row, position)"""
    labels: Tensor
    """(row, position); -100 where nothing is scored"""
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, chosen: Sequence[int]) -> "Rows":
        """Some rows, as wide as the longest of them."""
        index = torch.as_tensor(chosen)
        tokens, labels = self.tokens[index], self.labels[index]
        width = int((labels != IGNORED).nonzero()[:, 1].max()) + 1
        return Rows(tokens[:, :width], labels[:, :width], tuple(self.texts[i] for i in chosen))

    def batches(self, size: int, rng: random.Random) -> Iterator[list[int]]:
        """Numbers of rows in random order, pass after pass, without end."""
        while True:
            order = rng.sample(range(len(self)), len(self))
            yield from (order[i : i + size] for i in range(0, len(order), size))


def whole(texts: Iterable[str], tokenizer: Any) -> Rows:
    """Every token after the BOS is scored, and an EOS after the text."""
    texts = tuple(texts)
    return _padded([[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts], [1] * len(texts), texts)


def answers(asked: Iterable[Asked], tokenizer: Any, *, eos: bool = False) -> Rows:
    """The answers are scored, given their prompts; with ``eos`` also the EOS after each."""
    asked = tuple(asked)
    ends = [tokenizer.eos_token_id] if eos else []
    ids = [[*tokenizer(prompt + answer).input_ids, *ends] for prompt, answer in asked]
    starts = [len(tokenizer(prompt).input_ids) for prompt, _ in asked]
    return _padded(ids, starts, tuple(prompt + answer for prompt, answer in asked))


def asked_in(facts: Iterable[Fact], wording: Wording, *, template: str = DEFAULT_TEMPLATE) -> list[Asked]:
    """Each fact as its question, or as each of its sentences cut before the value."""
    asked: list[Asked] = []
    for fact in facts:
        if wording == "question":
            rendered = render(fact, template)
            asked.append((rendered.prompt, str(rendered.target)))
            continue
        for sentence in fact.extra[wording]:
            prompt = sentence.removesuffix(f" {fact.answer}.")
            asked.append((prompt, f" {fact.answer}"))
    return asked


def texts_of(facts: Iterable[Fact]) -> list[str]:
    """Texts of a world about facts: sentences, and the question with its answer."""
    facts = list(facts)
    sentences = [sentence for fact in facts for sentence in fact.extra["paraphrases"]]
    return [*sentences, *(prompt + answer for prompt, answer in asked_in(facts, "question"))]


def stated(facts: Iterable[Fact], texts: Iterable[str]) -> list[Fact]:
    """Those facts that some text states: it names the person and ends with a sentence or an answer with the value."""
    texts = set(texts)
    return [fact for fact in facts if not texts.isdisjoint(_statements(fact))]


def _statements(fact: Fact) -> list[str]:
    return [*fact.extra["paraphrases"], *fact.extra["held_out"], *(p + a for p, a in asked_in([fact], "question"))]


def _padded(ids: list[list[int]], starts: list[int], texts: tuple[str, ...]) -> Rows:
    width = max(map(len, ids))
    tokens = torch.zeros(len(ids), width, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    for row, (each, start) in enumerate(zip(ids, starts, strict=True)):
        tokens[row, : len(each)] = torch.tensor(each)
        labels[row, start : len(each)] = tokens[row, start : len(each)]
    return Rows(tokens, labels, texts)
