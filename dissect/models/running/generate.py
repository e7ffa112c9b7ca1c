"""Continuing prompts: greedily or at random, each as if it were alone."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.running.kv_cache import Decoder, can_decode
from dissect.models.vocabulary import unused_ids
from dissect.undoing.gradient_mode import without_gradients

Choose = Callable[[Float[Tensor, "row d_vocab"], Sequence[int], int], Int[Tensor, " row"]]
"""Maps the logits of some rows, the numbers of their prompts and that of the step (from 0) to the next ids."""


def greedy(
    model: HookedTransformer,
    prompts: Sequence[Int[Tensor, " _"]],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    n_ctx: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> list[Int[Tensor, " _"]]:
    """The most likely continuation of each prompt, token by token, with a key/value cache.

    What a prompt gets does not depend on what else is asked: prompts of any lengths run side by side, and no row sees
    another or any padding. What differs is rounding, because the products of a larger batch may add up in another
    order; it decides only where the two best logits are that close. Where they are exactly equal the lower id is taken,
    as in transformers.

    While something hooks the model, as in ``with model.hooks(...)``, TransformerLens's own forward pass runs on prompts
    of equal length, so that every hook fires as ever; likewise where a model is of a kind that `can_decode` does not
    know.

    Args:
        model: any hooked model, in evaluation mode.
        prompts: token ids of each prompt, BOS included where the checkpoint wants one.
        max_new_tokens: at most so many tokens are added, fewer where the context is full.
        eos_ids: tokens that end the continuation and are left out of it; see `eos_token_ids`.
        n_ctx: the context to respect, at most the model's own.
        batch_size: at most so many prompts at a time.
        progress: show a bar over the prompts.

    Returns:
        The new ids of each prompt on the CPU, in the order given; empty where the first token is an EOS.

    Raises:
        DissectError: an empty prompt, one that fills the context, or a count below 1.
    """
    return generate(
        model,
        prompts,
        lambda logits, rows, step: _best(logits),
        max_new_tokens=max_new_tokens,
        eos_ids=eos_ids,
        n_ctx=n_ctx,
        batch_size=batch_size,
        progress=progress,
    )


@without_gradients()
def generate(
    model: HookedTransformer,
    prompts: Sequence[Int[Tensor, " _"]],
    choose: Choose,
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    n_ctx: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> list[Int[Tensor, " _"]]:
    """Continue each prompt by what ``choose`` makes of the logits; everything else as in `greedy`."""
    limit = model.cfg.n_ctx if n_ctx is None else min(n_ctx, model.cfg.n_ctx)
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise DissectError(f"{name} must be at least 1, got {value}")
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < limit:
            raise DissectError(
                f"prompt {i} has {len(prompt)} tokens, the context {limit}: an answer needs 1 to {limit - 1}"
            )
    choose = _among_tokens(model, choose)
    room = [min(max_new_tokens, limit - len(prompt)) for prompt in prompts]
    mixed = can_decode(model)
    results: dict[int, list[int]] = {}
    with tqdm(total=len(prompts), desc="answering", unit="prompt", disable=not progress) as bar:
        for rows in _batches(prompts, batch_size, mixed=mixed):
            batch = _Batch(model, {row: prompts[row] for row in rows}, {row: room[row] for row in rows}, eos_ids)
            results |= _decode(batch, choose) if mixed else _run_hooked(batch, choose)
            bar.update(len(rows))
    return [torch.tensor(results[row], dtype=torch.int64) for row in range(len(prompts))]


def _among_tokens(model: HookedTransformer, choose: Choose) -> Choose:
    """``choose`` among the ids that a token has: an id of a padded vocabulary that none has is no answer."""
    unused = unused_ids(model)
    if not len(unused):
        return choose

    def choose_among(logits: Float[Tensor, "row d_vocab"], rows: Sequence[int], step: int) -> Int[Tensor, " row"]:
        return choose(logits.index_fill(-1, unused.to(logits.device), -torch.inf), rows, step)

    return choose_among


def eos_token_ids(model: HookedTransformer) -> frozenset[int]:
    """Every id that ends a text of this checkpoint.

    Gathered from the checkpoint's ``generation_config.json`` and ``config.json`` (one id or a list, as chat models
    have) where the model was loaded from one, and from its tokenizer.
    """
    checkpoint = checkpoint_or_none(model)
    ids: set[int] = set()
    for source in (
        getattr(checkpoint, "generation_config", None),
        getattr(checkpoint, "config", None),
        model.tokenizer,
    ):
        value: Any = source.get("eos_token_id") if isinstance(source, dict) else getattr(source, "eos_token_id", None)
        ids.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    return frozenset(ids)


def _batches(prompts: Sequence[Tensor], batch_size: int, *, mixed: bool) -> Iterator[list[int]]:
    """The prompts by length, the longest first, so that what needs most memory comes first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, prompt in sorted(enumerate(prompts), key=lambda numbered: -len(numbered[1])):
        groups[0 if mixed else len(prompt)].append(row)
    for rows in groups.values():
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _best(logits: Float[Tensor, "row d_vocab"]) -> Int[Tensor, " row"]:
    """The first of the highest logits in each row: on a CPU by numpy, which takes a tenth of PyTorch's time."""
    if logits.device.type != "cpu" or logits.dtype not in (torch.float32, torch.float64):
        return logits.argmax(dim=-1)
    return torch.from_numpy(logits.numpy().argmax(axis=-1))


@dataclass
class _Batch:
    """Prompts that are continued together, by their numbers."""

    model: HookedTransformer
    prompts: Mapping[int, Int[Tensor, " _"]]
    room: Mapping[int, int]
    """Number of tokens that may be added to each row."""
    eos_ids: Collection[int]


def _decode(batch: _Batch, choose: Choose) -> dict[int, list[int]]:
    """Continue prompts of any lengths side by side; a row that has ended leaves at once."""
    longest, ends = max(batch.room.values()), frozenset(batch.eos_ids)
    decoder = Decoder(batch.model, list(batch.prompts.values()), max_new_tokens=longest)
    new: dict[int, list[int]] = {row: [] for row in batch.prompts}
    rows, logits = list(new), decoder.read_prompts()
    for step in range(longest):
        next_ids = choose(logits, rows, step)
        going = []
        for number, (row, token) in enumerate(zip(rows, next_ids.tolist(), strict=True)):
            if token not in ends:
                new[row].append(token)
                if step + 1 < batch.room[row]:
                    going.append(number)
        if not going:
            break
        if len(going) < len(rows):
            order = decoder.keep(going)
            rows, next_ids = [rows[number] for number in order], next_ids[order]
        logits = decoder.step(next_ids)
    return new


def _run_hooked(batch: _Batch, choose: Choose) -> dict[int, list[int]]:
    """Continue prompts of one length by TransformerLens's own pass; a row that has ended runs on and is cut."""
    model, tokens = batch.model, torch.stack(list(batch.prompts.values()))
    tokens = tokens.to(next(model.parameters()).device)
    cache = TransformerLensKeyValueCache.init_cache(model.cfg, tokens.device, len(tokens))
    new: dict[int, list[int]] = {row: [] for row in batch.prompts}
    going, rows = set(new), list(new)
    for step in range(max(batch.room.values())):
        # The mask is given because TransformerLens otherwise guesses one and hides every token equal to its pad token.
        logits = model(tokens, past_kv_cache=cache, attention_mask=torch.ones_like(tokens), padding_side="right")
        last = logits[:, -1].to(torch.promote_types(logits.dtype, torch.float32))
        tokens = choose(last, rows, step)[:, None]
        for row, token in zip(rows, tokens[:, 0].tolist(), strict=True):
            if token in batch.eos_ids:
                going.discard(row)
            elif row in going:
                new[row].append(token)
        if not going:
            break
    return new
