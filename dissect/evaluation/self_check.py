"""The library's own checks on a user's checkpoint: does it compute, patch, save and answer as it should?"""

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer
from transformers import GenerationConfig, PreTrainedModel

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError
from dissect.evaluation.chat_check import chat_ids
from dissect.keywords import keywords
from dissect.models.files.load import load
from dissect.models.files.save import save_hf
from dissect.models.native import native_model
from dissect.models.pair import ModelPair
from dissect.models.running.generate import greedy
from dissect.models.vocabulary import unused_ids
from dissect.patching.patch import patch
from dissect.patching.sites import available
from dissect.undoing.gradient_mode import without_gradients

TOLERANCE = 1e-4
"""Largest difference between two logits that counts as rounding in float32, for logits up to 1; else as a share of the
largest logit."""
NEW_TOKENS = 16
_TEXTS = (
    "The capital of France is",
    "Question: Who wrote the play Romeo and Juliet, and in which century?\nAnswer:",
    "1, 2, 3,",
)
_COMPLETION = " nothing"


@dataclass(frozen=True)
class Check:
    """How one check ended."""

    name: str
    passed: bool | None
    """None where it does not apply, for instance because the checkpoint has no tokenizer."""
    detail: str
    """Measured numbers, or the reason why the check does not apply."""

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "skipped"}[self.passed]
        return f"{word:<8}{self.name}: {self.detail}"


@dataclass(frozen=True)
class Checked:
    """Inputs of every check: the hooked model, transformers' own with the same weights, and some prompts."""

    model: HookedTransformer
    native: PreTrainedModel
    prompts: list[Int[Tensor, " _"]]


CHECKS: dict[str, Callable[[Checked], tuple[bool | None, str]]] = {}
"""Every check by its name, in the order of running; each says how it ended and what it measured."""


def check(name: str) -> Callable[[Callable[[Checked], tuple[bool | None, str]]], object]:
    """Register a check under ``name``."""

    def register(function: Callable[[Checked], tuple[bool | None, str]]) -> object:
        CHECKS[name] = function
        return function

    return register


@keywords()
def self_check(
    source: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> list[Check]:
    """Run the library's own checks on a checkpoint, in float32.

    The hooked model and transformers' own are in memory together, and the model is written to a temporary directory
    once. A check that fails is a defect of dissect, or of the checkpoint: please report it with its line.

    Args:
        source: a directory, a hub id or an adapter, as for ``dissect.load``.
        base: the base model of an adapter, instead of the one that it records.
        device: where both models go; by default the GPU if there is one.
        progress: show a bar over the checks.

    Returns:
        One result a check.

    Raises:
        DissectError: the checkpoint cannot be loaded, or its tokenizer is another model's.

    Example:
        >>> for result in dissect.self_check("runs/npo"):  # doctest: +SKIP
        ...     print(result)
    """
    model = load(source, device=device, base=base, progress=progress)
    model_device = model.embed.W_E.device
    checked = Checked(model, native_model(model).to(model_device), _prompts(model))
    results = []
    for name, function in tqdm(CHECKS.items(), desc="checking", unit="check", delay=1.0, disable=not progress):
        try:
            passed, detail = function(checked)
        except DissectError as error:
            passed, detail = False, str(error)
        results.append(Check(name, passed, detail))
    return results


@check("logits equal transformers'")
@without_gradients()
def _logits(checked: Checked) -> tuple[bool, str]:
    """On texts of the checkpoint's own: prompts of unequal lengths with what it says after them, padded."""
    model, device = checked.model, checked.model.embed.W_E.device
    said = greedy(model, checked.prompts, max_new_tokens=_room(checked), progress=False)
    rows = [torch.cat([prompt, new]) for prompt, new in zip(checked.prompts, said, strict=True)]
    tokens, mask = _padded(rows)
    ours: Float[Tensor, "row pos vocab"] = model(tokens.to(device), padding_side="right")
    theirs = checked.native(input_ids=tokens.to(device), attention_mask=mask.long().to(device)).logits
    difference = float((ours - theirs)[mask].abs().max())
    allowed = TOLERANCE * max(1.0, float(theirs[mask].abs().max()))
    return (
        difference <= allowed,
        f"{int(mask.sum())} positions differ by at most {difference:.2g} ({allowed:.2g} allowed)",
    )


@check("identity patch is 0")
def _identity(checked: Checked) -> tuple[bool | None, str]:
    if checked.model.tokenizer is None:
        return None, "the checkpoint has no tokenizer"
    tokenizer, room = checked.model.tokenizer, checked.model.cfg.n_ctx
    fitting = [text for text in _TEXTS if len(tokenizer(text + _COMPLETION)["input_ids"]) <= room]
    if not fitting:
        return None, f"no prompt fits into a context of {room} tokens"
    prompts = Facts([Fact(prompt=text, completion=_COMPLETION) for text in fitting]).prompts(checked.model)
    sites = available(checked.model)
    swept = patch(ModelPair(checked.model, checked.model), prompts, sites, window=1, progress=False)
    largest = float(np.abs(swept.values("krs").values).max())
    layers = checked.model.cfg.n_layers
    return largest == 0.0, f"{len(sites)} sites in {layers} layers change the logits by {largest:.2g}"


@check("saved and loaded bit-equal")
def _saved(checked: Checked) -> tuple[bool, str]:
    model, info = checked.model, checked.model.checkpoint
    with tempfile.TemporaryDirectory() as directory:
        again = load(save_hf(model, Path(directory) / "model", dtype=info.dtype), device="cpu", progress=False)
        theirs = dict(again.named_parameters())
        ours = dict(model.named_parameters())
        differing = [name for name in ours if not _same(ours[name], theirs.get(name), merged=info.adapter is not None)]
        del again, theirs
        gc.collect()
    detail = f"{len(ours)} parameters, stored as {info.dtype}"
    return not differing, detail if not differing else f"{len(differing)} of {detail} differ, first {differing[0]}"


@check("generation equals transformers'")
@without_gradients()
def _generation(checked: Checked) -> tuple[bool, str]:
    model, native = checked.model, checked.native
    new, device = _room(checked), model.embed.W_E.device
    ours = greedy(model, checked.prompts, max_new_tokens=new, progress=False)
    unused = unused_ids(model).tolist() or None  # dissect never says them
    # the checkpoint's own settings may sample or penalise
    native.generation_config = GenerationConfig(pad_token_id=0, suppress_tokens=unused)
    total = 0
    for prompt, said in zip(checked.prompts, ours, strict=True):
        row = prompt[None].to(device)
        mask = torch.ones_like(row)
        whole = native.generate(row, attention_mask=mask, max_new_tokens=new, do_sample=False)  # type: ignore[operator]
        theirs = whole[0, len(prompt) :].cpu()
        for position in range(min(len(said), len(theirs))):
            if int(said[position]) == int(theirs[position]):
                continue
            before = torch.cat([prompt, said[:position]])[None].to(device)
            logits = native(input_ids=before).logits[0, -1].float()
            gap = float((logits[said[position]] - logits[theirs[position]]).abs())
            if gap > TOLERANCE * max(1.0, float(logits.abs().max())):
                return False, f"token {position + 1} after {len(prompt)} differs, with logits {gap:.2g} apart"
            break  # a tie: what follows is another text
        total += len(said)
    return True, f"{total} tokens after {len(checked.prompts)} prompts"


@check("chat ids equal transformers'")
def _chat(checked: Checked) -> tuple[bool | None, str]:
    return chat_ids(checked.model, _TEXTS)


def _same(ours: Tensor, theirs: Tensor | None, *, merged: bool) -> bool:
    """Bit-equal; a merged adapter's weights are sums in float32, which the file's dtype rounds."""
    if theirs is None or ours.shape != theirs.shape:
        return False
    ours = ours.detach().cpu()
    return torch.equal(ours, theirs) or (merged and bool(torch.allclose(ours, theirs, rtol=2**-7, atol=1e-6)))


def _room(checked: Checked) -> int:
    """How many tokens fit after the longest prompt, at most ``NEW_TOKENS``."""
    return max(1, min(NEW_TOKENS, checked.model.cfg.n_ctx - max(len(prompt) for prompt in checked.prompts)))


def _prompts(model: HookedTransformer) -> list[Int[Tensor, " _"]]:
    """Ids of unequal lengths: of the texts, or random where there is no tokenizer."""
    return [ids[: max(1, model.cfg.n_ctx // 2)] for ids in _ids(model)]


def _ids(model: HookedTransformer) -> Iterator[Int[Tensor, " _"]]:
    generator = torch.Generator().manual_seed(0)
    for number, text in enumerate(_TEXTS):
        if model.tokenizer is None:
            yield torch.randint(0, model.cfg.d_vocab, (5 + 7 * number,), generator=generator)
        else:
            ids = torch.tensor(model.tokenizer(text)["input_ids"])
            if (highest := int(ids.max())) >= model.cfg.d_vocab:
                raise DissectError(
                    f"the tokenizer gives id {highest} in {text!r}, and the embedding has {model.cfg.d_vocab} rows: "
                    "put the files of the checkpoint's own tokenizer beside the weights"
                )
            yield ids


def _padded(rows: list[Int[Tensor, " _"]]) -> tuple[Int[Tensor, "row pos"], Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return tokens, torch.arange(tokens.shape[1]) < lengths[:, None]
