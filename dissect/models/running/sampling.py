"""Continuing prompts at random, each from a stream of random numbers of its own."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformers import TopPLogitsWarper

from dissect.errors import DissectError
from dissect.models.running.generate import generate


def sample(
    model: HookedTransformer,
    prompts: Sequence[Int[Tensor, " _"]],
    *,
    max_new_tokens: int,
    top_p: float | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    eos_ids: Collection[int] = (),
    n_ctx: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> list[Int[Tensor, " _"]]:
    """A random continuation of each prompt, from the distribution that transformers' ``generate`` draws from.

    The temperature divides the logits, ``top_k`` keeps the likeliest tokens (and all that tie with the last of them),
    ``top_p`` the fewest likeliest ones whose probabilities add up to at least that; in this order, as in transformers.

    Prompt i takes one number a step from the stream that belongs to (``seed``, i), so what it gets depends neither on
    the other prompts nor on the size of the batch, up to rounding as in `greedy`. Another seed gives other streams.

    Everything else, and what is returned, is as in `greedy`.

    Raises:
        DissectError: as `greedy`, and a temperature, ``top_k``, ``top_p`` or seed out of range.
    """
    for fine, name, value, wanted in (
        (temperature > 0, "temperature", temperature, "above 0; for the likeliest tokens use greedy"),
        (top_k is None or top_k >= 1, "top_k", top_k, "at least 1, or None for all tokens"),
        (top_p is None or 0 < top_p <= 1, "top_p", top_p, "above 0 and at most 1, or None for all tokens"),
        (seed >= 0, "seed", seed, "at least 0"),
    ):
        if not fine:
            raise DissectError(f"{name} must be {wanted}, got {value}")
    streams = [np.random.default_rng([seed, i]) for i in range(len(prompts))]

    def choose(logits: Float[Tensor, "row d_vocab"], rows: Sequence[int], step: int) -> Int[Tensor, " row"]:
        numbers = torch.tensor([streams[row].random() for row in rows], dtype=torch.float64, device=logits.device)
        ids, probabilities = distribution(logits, top_p=top_p, top_k=top_k, temperature=temperature)
        return ids.gather(1, _drawn(probabilities, numbers)[:, None])[:, 0]

    return generate(
        model,
        prompts,
        choose,
        max_new_tokens=max_new_tokens,
        eos_ids=eos_ids,
        n_ctx=n_ctx,
        batch_size=batch_size,
        progress=progress,
    )


def distribution(
    logits: Float[Tensor, "row d_vocab"], *, top_p: float | None, top_k: int | None, temperature: float
) -> tuple[Int[Tensor, "row candidate"], Float[Tensor, "row candidate"]]:
    """The ids that may be drawn, in their own order, with their probabilities in float64; those left out have 0."""
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[1]:
        last = logits.topk(top_k).values[:, -1:]
        n_kept = int((logits >= last).sum(dim=1).max())  # more than top_k where some tie with the last
        ids = logits.topk(n_kept).indices.sort(dim=1).values
        logits = logits.gather(1, ids)
        logits = logits.masked_fill(logits < last, -torch.inf)
    else:
        ids = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
    if top_p is not None and top_p < 1:
        logits = TopPLogitsWarper(top_p)(ids, logits)
    return ids, logits.double().softmax(dim=1)


def _drawn(probabilities: Float[Tensor, "row candidate"], numbers: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The candidate in whose share of [0, 1) each number falls."""
    sums = probabilities.cumsum(dim=1)
    whole = sums[:, -1]
    below = torch.minimum(numbers * whole, torch.nextafter(whole, torch.zeros_like(whole)))  # never one past the last
    return torch.searchsorted(sums, below[:, None], right=True)[:, 0]
