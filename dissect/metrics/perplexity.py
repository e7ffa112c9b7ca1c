"""Perplexity of the scored tokens of texts."""

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.metrics.bootstrap import bootstrap
from dissect.metrics.measure import Estimate, Measure, Undefined
from dissect.metrics.subject import Subject
from dissect.models.forward import final_residual, logits_at


@torch.no_grad()
def perplexity(model: HookedTransformer, prompts: Prompts, *, batch_size: int = 32) -> float:
    """exp of the mean of -log p over all scored tokens of all prompts: 1 is certainty, the vocabulary's size guessing.

    Of plain texts every token after the first is scored, of questions the answer. Infinite where it overflows.
    """
    device, total, n_tokens = model.embed.W_E.device, 0.0, 0
    for part in prompts.batches(batch_size):
        final = final_residual(model, part.tokens.to(device))
        logits = logits_at(model, final, part.predicting_mask.to(device))
        targets = part.tokens[part.answer_mask].to(device)
        total += float(functional.cross_entropy(logits, targets, reduction="none").double().sum())
        n_tokens += len(targets)
    mean = total / n_tokens
    return math.exp(mean) if mean < 700 else math.inf if mean == mean else math.nan


def perplexity_of_texts(subject: Subject) -> Estimate:
    """`perplexity` of plain texts, with the interval of the ratio of sums as whole texts are drawn anew.

    Raises:
        Undefined: facts that are no plain texts.
    """
    if any(fact.kind != "text" for fact in subject.facts):
        raise Undefined("it is of plain texts, and these are questions or prompts: see answer_probability for those")
    parts = subject.scores.split(subject.scores.logprob)
    surprise, n_tokens = np.array([-part.sum() for part in parts]), np.array([len(part) for part in parts])

    def ratio(chosen: np.ndarray, axis: int = -1) -> Any:
        rows = chosen.astype(np.int64)
        with np.errstate(over="ignore"):
            return np.exp(surprise[rows].sum(axis) / n_tokens[rows].sum(axis))

    every = np.arange(len(parts))
    low, high = bootstrap([every], ratio, seed=subject.settings.seed)
    return Estimate(float(ratio(every)), len(parts), low, high, unit="texts")


MEASURE = Measure(
    name="perplexity",
    label="perplexity",
    definition=(
        "exp of the mean of -log p over all tokens of all texts, each text's first one excepted: 1 is certainty, the "
        "vocabulary's size guessing; long texts weigh more"
    ),
    family="behaviour",
    compute=perplexity_of_texts,
    sets=("texts", "forget", "retain", "nonmembers"),
    knows="low",
)
