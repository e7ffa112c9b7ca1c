"""The logit lens token by token: what each layer of two models would say next, side by side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.data.token_table import token_table, token_texts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.pair import ROLES, ModelPair
from dissect.patching.lens_table import LensTable
from dissect.patching.where import inside, offsets, single_positions
from dissect.provenance import versions
from dissect.reading.layer_lens import LOGITS_AT_ONCE, Lens, states_by_layer
from dissect.reading.layer_lens import logit_lens as lens_of
from dissect.sweep.check_inputs import check_inputs, check_run
from dissect.undoing.gradient_mode import without_gradients

NONE = -1
"""Stands for a token that does not exist: padding, and what follows the last one."""


@keywords()
@without_gradients()
def logit_lens(
    pair: ModelPair,
    prompts: Prompts,
    *,
    models: Sequence[str] = ("base", "unlearned"),
    head: str = "base",
    k: int = 5,
    batch_size: int = 8,
    progress: bool = True,
) -> LensTable:
    """Read the residual stream after every layer, at every position, as if it were the last (nostalgebraist 2020).

    p_l = softmax(W_U · norm_f(h^l)). With one head for both models, what differs between them is the states; with
    ``head="own"`` the last layer is the model's output. A state that does not read as the answer may still hold it in a
    form that later layers turn into it: whether they do, ``patch`` and the measure ``uds`` say.

    Args:
        models: of the pair: ``base``, ``unlearned``, ``retrained``.
        head: whose final norm and unembedding read: one of these models, or ``own`` for each its own.
        k: how many of the most likely tokens are kept.

    Raises:
        DissectError: no prompts, a model that the pair does not have, one model held at a time, k below 1.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> lens = dissect.logit_lens(pair, prompts[:4])
        >>> lens.table(prompt=0)  # the likeliest token after each layer, where the answer begins
                   base ...
    """
    check_inputs(pair, prompts)
    check_run(pair.base, prompts, batch_size)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DissectError(f"k={k!r}: a whole number from 1 on, such as 5")
    names = list(dict.fromkeys([models] if isinstance(models, str) else models))
    if not names:
        raise DissectError("models=(): name at least one of base, unlearned, retrained")
    if head not in (*ROLES, "own"):
        raise DissectError(f"head={head!r}: choose from {', '.join(ROLES)}, own")
    held = {name: pair.roles(name, name)[0] for name in [*names, *([head] if head != "own" else [])]}
    positions = single_positions("each", prompts)
    shape = (len(names), held[names[0]].cfg.n_layers, len(positions), len(prompts))
    k = min(k, held[names[0]].cfg.d_vocab)
    said, scores = np.full((*shape, k), NONE), np.full((*shape, k + 2), np.nan)
    with tqdm(total=len(names) * len(prompts), desc="logit lens", unit="prompt", disable=not progress) as bar:
        for start in range(0, len(prompts), batch_size):
            part = prompts[list(range(start, min(start + batch_size, len(prompts))))]
            for model_index, name in enumerate(names):
                lens = lens_of(held[name if head == "own" else head])
                for layer, (best, numbers, row, offset) in enumerate(_read(held[name], part, lens, k)):
                    at = (model_index, layer, offset - positions[0], row + start)
                    said[at], scores[at] = best, numbers
                bar.update(len(part))
    spec = {"kind": "logit lens", "head": head, "k": k} | pair.provenance() | prompts.provenance()
    return _labelled(said, scores, prompts, {"model": names, "position": positions}, spec)


def _read(model: HookedTransformer, prompts: Prompts, lens: Lens, k: int) -> Any:
    """Yield for each layer the best tokens [token, k]; their probabilities, and rank and log-probability of the next
    token [token, k + 2]; row and offset of each token."""
    device = model.embed.W_E.device
    there = inside(prompts)
    following = torch.nn.functional.pad(prompts.tokens[:, 1:], (0, 1))
    following[torch.arange(len(prompts)), prompts.lengths - 1] = NONE
    wanted, row = following[there].to(device), there.nonzero()[:, 0]
    offset = offsets(prompts)[there]
    at_once = max(1, LOGITS_AT_ONCE // model.cfg.d_vocab)
    for layer, states in enumerate(states_by_layer(model, prompts.tokens.to(device), there.to(device))):
        pieces = zip(states.split(at_once), wanted.split(at_once), strict=True)
        parts = [_best(lens(layer, some), tokens, k) for some, tokens in pieces]
        best, numbers = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        yield best, numbers, row.numpy(), offset.numpy()


def _best(
    logits: Float[Tensor, "token d_vocab"], wanted: Int[Tensor, " token"], k: int
) -> tuple[Int[Tensor, "token k"], Float[Tensor, "token numbers"]]:
    logs = logits.log_softmax(-1)
    top = logs.topk(k)
    own = logs.gather(-1, wanted.clamp(min=0)[:, None])
    rank = 1 + (logs > own).sum(-1, keepdim=True)
    of_next = torch.cat([rank.to(own.dtype), own], 1).masked_fill((wanted == NONE)[:, None], float("nan"))
    return top.indices, torch.cat([top.values.exp(), of_next], 1)


def _labelled(
    said: np.ndarray, found: np.ndarray, prompts: Prompts, axes: Mapping[str, list], spec: Mapping[str, Any]
) -> LensTable:
    dims = ("model", "layer", "position", "prompt")
    there = said >= 0
    texts = np.full(said.shape, "", dtype=object)
    texts[there] = token_texts(prompts, said[there])
    coords = {
        **axes,
        "layer": np.arange(said.shape[1]),
        "prompt": np.arange(len(prompts)),
        "k": np.arange(1, said.shape[-1] + 1),
        "prompt_text": ("prompt", np.array(prompts.prompt_texts, dtype=str)),
        "question": ("prompt", np.array(prompts.questions, dtype=str)),
        "answer_text": ("prompt", np.array(prompts.answer_texts, dtype=str)),
    }
    variables: dict[str, Any] = {
        "said": ((*dims, "k"), texts.astype(str)),
        "probability": ((*dims, "k"), found[..., :-2]),
        "rank": (dims, found[..., -2]),
        "logprob": (dims, found[..., -1]),
        "token": (("position", "prompt"), token_table(prompts, axes["position"])),
    }
    attrs = {
        "format": LensTable.FORMAT,
        "spec": json.dumps(dict(spec)),
        "prompts": prompts.fingerprint(),
        "versions": json.dumps(versions()),
    }
    return LensTable(xr.Dataset(variables, coords=coords, attrs=attrs))
