"""Perplexity of the scored tokens of texts."""

import math

from torch.nn import functional
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.running.forward import final_residual, logits_at
from dissect.undoing.gradient_mode import without_gradients


@without_gradients()
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
