"""Answers read after another question: what a model's states are where they cannot know the answer."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import Undefined
from dissect.models.running.forward import embed, logits_at
from dissect.models.running.partial import run_block, run_layers
from dissect.undoing.gradient_mode import without_gradients

_SAME_SUBJECT = 2.0
"""Taken off the similarity of a question about the same subject, so that any other comes first."""


def other_questions(prompts: Prompts, *, n_ctx: int | None = None) -> tuple[Prompts, list[int]]:
    """Each fact's own answer after the prompt of the most similar other fact, and the rows for which there is one.

    The other fact is the one that shares most tokens with the prompt (Jaccard index of their sets) among those with
    another answer; one about the same ``subject`` only if there is nothing else. So the question stays of the same
    kind, and only who or what it is about is exchanged (symmetric replacement: Zhang and Nanda 2023, arXiv
    2309.16042).

    Raises:
        Undefined: plain texts, or no two facts with different answers.
    """
    if any(fact.kind == "text" for fact in prompts.facts):
        raise Undefined("plain texts ask nothing: give questions, or prompts with completions")
    tails = prompts.lengths - prompts.prompt_lengths  # the answer and special tokens after it
    rows: list[int] = []
    partners: list[int] = []
    for row, likeness in enumerate(_similarities(prompts)):
        fits = np.array([answer != prompts.answer_texts[row] for answer in prompts.answer_texts])
        if n_ctx is not None:
            fits &= (prompts.prompt_lengths + tails[row] <= n_ctx).numpy()
        # of equals the next one in order, not always the first
        order = np.roll(np.arange(len(prompts)), -row)
        candidates = order[fits[order]]
        if len(candidates):
            rows.append(row)
            partners.append(int(candidates[np.argmax(likeness[candidates])]))
    if not rows:
        raise Undefined("it compares with another question, and no two facts have different answers")
    return _after(prompts[rows], prompts[partners]), rows


def _similarities(prompts: Prompts) -> Float[np.ndarray, "prompt prompt"]:
    held = [set(row[:n].tolist()) for row, n in zip(prompts.tokens, prompts.prompt_lengths.tolist(), strict=True)]
    ids = np.concatenate([sorted(one) for one in held])
    sizes = np.array([len(one) for one in held])
    has = sparse.csr_matrix((np.ones(len(ids)), ids, np.concatenate([[0], sizes.cumsum()])))
    shared = (has @ has.T).toarray()
    likeness = shared / (sizes[:, None] + sizes - shared)
    subjects = [fact.extra.get("subject") for fact in prompts.facts]
    same = np.array([[one is not None and one == other for other in subjects] for one in subjects])
    return likeness - _SAME_SUBJECT * same


def _after(own: Prompts, others: Prompts) -> Prompts:
    """The answers of ``own`` after the prompts of ``others``, row by row, as tokens."""
    texts: list[Tensor] = []
    for row in range(len(own)):
        answer = own.tokens[row, own.prompt_lengths[row] : own.lengths[row]]
        texts.append(torch.cat([others.tokens[row, : others.prompt_lengths[row]], answer]))
    tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    answer_mask = torch.zeros_like(tokens, dtype=torch.bool)
    for row, (start, n) in enumerate(zip(others.prompt_lengths.tolist(), own.answer_lengths.tolist(), strict=True)):
        answer_mask[row, start : start + n] = True
    return Prompts(
        tokens=tokens,
        lengths=torch.tensor([len(text) for text in texts]),
        prompt_lengths=others.prompt_lengths,
        answer_mask=answer_mask,
        subject_mask=torch.zeros_like(answer_mask),
        prompt_texts=others.prompt_texts,
        answer_texts=own.answer_texts,
        facts=own.facts,
        answers=own.answers,
        tokenizer=own.tokenizer,
        template=own.template,
        chat=own.chat,
        tails=own.tails,
    )


@without_gradients()
def drops_between(
    model: HookedTransformer, prompts: Prompts, donors: Prompts, *, batch_size: int = 32
) -> Float[np.ndarray, "layer prompt"]:
    """Δ_l (see ``erasure_curve``) where the states come from the same model reading ``donors``.

    ``donors`` have the same answers, after other prompts: each state goes to where the same token of the answer is
    predicted.
    """
    drops: list[Float[np.ndarray, "layer batch"]] = []
    for part, giving in zip(prompts.batches(batch_size), donors.batches(batch_size), strict=True):
        own, other = _residuals(model, part), _residuals(model, giving)
        full = _answer_logprob(model, own[-1], part)
        rows = []
        for layer, (mine, theirs) in enumerate(zip(own, other, strict=True)):
            patched = mine.clone()
            patched[part.predicting_mask] = theirs[giving.predicting_mask]
            rows.append(full - _answer_logprob(model, run_layers(model, patched, start=layer + 1), part))
        drops.append(np.stack(rows))
    return np.concatenate(drops, axis=1)


def _residuals(model: HookedTransformer, part: Prompts) -> Sequence[Float[Tensor, "batch pos d_model"]]:
    """The residual stream after each layer."""
    residual, after = embed(model, part.tokens.to(model.embed.W_E.device)), []
    for block in model.blocks:
        residual = run_block(block, residual)
        after.append(residual)
    return after


def _answer_logprob(
    model: HookedTransformer, final: Float[Tensor, "batch pos d_model"], part: Prompts
) -> Float[np.ndarray, " batch"]:
    """Mean log-probability of the answer's tokens of each prompt."""
    where = part.predicting_mask
    logits = logits_at(model, final, where.to(final.device))
    targets = part.tokens[part.answer_mask].to(final.device)
    logs = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double().cpu()
    total = torch.zeros(len(part), dtype=torch.float64).index_add_(0, where.nonzero()[:, 0], logs)
    return (total / part.answer_lengths).numpy()
