"""Exam of a model: shares of facts answered by wording, of facts kept, and its perplexity on plain texts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.truths.rows import IGNORED, Rows

BATCH = 256


@dataclass(frozen=True)
class Exam:
    """Everything that a model is asked: one forget set in three wordings, retain facts, plain texts."""

    question: Rows
    paraphrases: Rows
    held_out: Rows
    retain: Rows
    texts: Rows

    def said(self, model: Any, wordings: Iterable[str] = ("question", "paraphrases", "held_out")) -> dict[str, float]:
        """Share of the forget facts answered, by wording."""
        return {wording: answered(model, getattr(self, wording)) for wording in wordings}

    def most_said(self, model: Any) -> float:
        """The largest share over wordings."""
        return max(self.said(model).values())

    def kept(self, model: Any) -> float:
        """Share of retain facts answered as asked."""
        return answered(model, self.retain)

    def measured(self, model: Any) -> dict[str, float]:
        """All of it, by name: the wordings, ``kept`` and ``perplexity``."""
        return {**self.said(model), "kept": self.kept(model), "perplexity": perplexity(model, self.texts)}


@torch.no_grad()
def logits_of(model: Any, rows: Rows) -> Tensor:
    """Logits (row, position, vocabulary)."""
    return torch.cat([model(tokens).logits for tokens in rows.tokens.split(BATCH)])


@torch.no_grad()
def right(model: Any, rows: Rows) -> Tensor:
    """For each row, whether every token of the answer is the most likely one: whether greedy decoding says it."""
    hits = []
    for tokens, labels in zip(rows.tokens.split(BATCH), rows.labels.split(BATCH), strict=True):
        best = model(tokens).logits[:, :-1].argmax(-1)
        hits.append(((best == labels[:, 1:]) | (labels[:, 1:] == IGNORED)).all(1))
    return torch.cat(hits)


def answered(model: Any, rows: Rows) -> float:
    """Share of the rows whose answer greedy decoding says."""
    return float(right(model, rows).float().mean())


@torch.no_grad()
def perplexity(model: Any, rows: Rows) -> float:
    """exp of the mean cross-entropy of the scored tokens."""
    logits = logits_of(model, rows)[:, :-1].flatten(0, 1)
    return exp(min(700.0, float(F.cross_entropy(logits, rows.labels[:, 1:].flatten(), ignore_index=IGNORED))))


def share_of(now: Mapping[str, float], before: Mapping[str, float], key: str) -> float:
    """Share of what was answered before that is answered now."""
    return now[key] / before[key] if before[key] else float("nan")
