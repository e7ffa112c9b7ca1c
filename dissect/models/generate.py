"""Greedy continuation of prompts, exact: no padding is ever involved."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

from dissect.errors import DissectError


def greedy(
    model: HookedTransformer,
    prompts: Sequence[Int[Tensor, "_"]],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    n_ctx: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> list[Int[Tensor, "_"]]:
    """The most likely continuation of each prompt, token by token, with a key/value cache.

    Prompts of equal length are run together, so a batch holds no padding and the result does not depend on what else
    is asked. Where two logits are exactly equal the lower id is taken, as in transformers.

    Args:
        model: any hooked model, in evaluation mode.
        prompts: token ids of each prompt, BOS included where the checkpoint wants one.
        max_new_tokens: at most so many tokens are added, fewer where the context is full.
        eos_ids: tokens that end the continuation and are left out of it; see `eos_token_ids`.
        n_ctx: the context to respect, at most the model's own.
        batch_size: at most so many prompts of one length at a time.
        progress: show a bar over the prompts.

    Returns:
        The new ids of each prompt on the CPU, in the order given; empty where the first token is an EOS.

    Raises:
        DissectError: an empty prompt, one that fills the context, or a count below 1.
    """
    limit = model.cfg.n_ctx if n_ctx is None else min(n_ctx, model.cfg.n_ctx)
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise DissectError(f"{name} must be at least 1, got {value}")
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < limit:
            raise DissectError(
                f"prompt {i} has {len(prompt)} tokens, the context {limit}: an answer needs 1 to {limit - 1}"
            )
    results: list[Tensor] = [torch.empty(0, dtype=torch.int64)] * len(prompts)
    with tqdm(total=len(prompts), desc="answering", unit="prompt", disable=not progress) as bar:
        for rows in _equal_lengths(prompts, batch_size):
            batch = torch.stack([prompts[row] for row in rows])
            steps = min(max_new_tokens, limit - batch.shape[1])
            for row, new in zip(rows, _continue(model, batch, steps, sorted(eos_ids)), strict=True):
                results[row] = new
            bar.update(len(rows))
    return results


def eos_token_ids(model: HookedTransformer) -> frozenset[int]:
    """Every id that ends a text of this checkpoint.

    Gathered from the checkpoint's ``generation_config.json`` and ``config.json`` (one id or a list, as chat models
    have) where the model was loaded from one, and from its tokenizer.
    """
    checkpoint = getattr(model, "checkpoint", None)
    found: set[int] = set()
    for source in (
        getattr(checkpoint, "generation_config", None),
        getattr(checkpoint, "config", None),
        model.tokenizer,
    ):
        value: Any = source.get("eos_token_id") if isinstance(source, dict) else getattr(source, "eos_token_id", None)
        found.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    return frozenset(found)


def _equal_lengths(prompts: Sequence[Tensor], batch_size: int) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        groups[len(prompt)].append(row)
    for _, rows in sorted(groups.items()):
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


@torch.no_grad()
def _continue(
    model: HookedTransformer, batch: Int[Tensor, "batch pos"], steps: int, eos_ids: Sequence[int]
) -> list[Int[Tensor, "_"]]:
    """Continue prompts of one length; a row that has ended runs on with the others and is cut afterwards."""
    device = next(model.parameters()).device
    cache = TransformerLensKeyValueCache.init_cache(model.cfg, device, len(batch))
    ends = torch.tensor(eos_ids, dtype=torch.int64, device=device)
    new = torch.empty(len(batch), 0, dtype=torch.int64, device=device)
    ended = torch.zeros(len(batch), dtype=torch.bool, device=device)
    step = batch.to(device)
    for _ in range(steps):
        # The mask is given because TransformerLens otherwise guesses one and hides every token equal to its pad token.
        logits = model(step, past_kv_cache=cache, attention_mask=torch.ones_like(step), padding_side="right")
        step = logits[:, -1:].argmax(dim=-1)
        new = torch.cat([new, step], dim=1)
        ended |= torch.isin(step[:, 0], ends)
        if bool(ended.all()):
            break
    is_end = torch.isin(new, ends)
    lengths = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1), new.shape[1])
    return [row[:length].cpu() for row, length in zip(new, lengths.tolist(), strict=True)]
