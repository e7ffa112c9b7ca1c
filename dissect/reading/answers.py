"""A model's own answers beside the expected ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.running.forward import final_residual, logits_at
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.undoing.gradient_mode import without_gradients


@dataclass(frozen=True)
class Answer:
    """One question with the expected answer and what the model said."""

    prompt: str
    expected: str
    said: str


@without_gradients()
def reproduced(model: HookedTransformer, prompts: Prompts, *, batch_size: int = 64) -> Bool[Tensor, " prompt"]:
    """Tell for each prompt whether the model's greedy continuation begins with exactly the expected answer.

    It is if and only if, reading the expected answer, each of its tokens is the most likely one where it stands; so one
    forward pass decides and nothing is generated. The mean over prompts is the share of facts recalled verbatim.
    """
    hits = []
    device = model.embed.W_E.device
    for part in prompts.batches(batch_size):
        where = part.predicting_mask
        final = final_residual(model, part.tokens.to(device))
        best = logits_at(model, final, where.to(device)).argmax(-1).cpu()
        wrong = torch.zeros(len(part), dtype=torch.int64)
        wrong.index_add_(0, where.nonzero()[:, 0], (best != part.tokens[part.answer_mask]).long())
        hits.append(wrong == 0)
    return torch.cat(hits)


def say(
    model: HookedTransformer,
    prompts: Prompts,
    *,
    max_new_tokens: int = 20,
    batch_size: int = 32,
    progress: bool = False,
) -> list[Answer]:
    """The model's greedy answers to the prompts, as text: until an EOS, the end of a turn or ``max_new_tokens``."""
    questions = [row[:length] for row, length in zip(prompts.tokens, prompts.prompt_lengths.tolist(), strict=True)]
    new = greedy(
        model,
        questions,
        max_new_tokens=max_new_tokens,
        eos_ids=eos_token_ids(model) | prompts.ends,
        batch_size=batch_size,
        progress=progress,
    )
    return [
        Answer(prompt, expected.strip(), prompts.tokenizer.decode(ids, skip_special_tokens=True).strip())
        for prompt, expected, ids in zip(prompts.prompt_texts, prompts.answer_texts, new, strict=True)
    ]
