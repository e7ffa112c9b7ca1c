"""Base models of the embedded world: a Llama trained on its texts until it answers every question."""

import logging
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from dissect.data.prompts import Prompts
from dissect.data.world import World
from dissect.errors import DissectError
from dissect.files import atomic_directory, check_new_directory
from dissect.undoing.gradient_mode import gradients_as_they_are, without_gradients
from dissect.undoing.random_state import seeded

log = logging.getLogger(__name__)

IGNORED = -100
WARM_UP = 20
"""Steps in which the learning rate rises."""
FLOOR = 0.1
"""Share of the learning rate that is left at the last step."""
MIN_STEPS, MAX_PASSES = 400, 18
"""Default limit of training: this many steps, or passes over the texts if these take more."""
MATRIX_STD, EMBEDDING_STD = 0.04, 0.5
"""First weights. With transformers' 0.02 throughout it takes four times as many texts to learn the same world."""
POOL = 8
"""So many batches are sorted by length together: little padding, and still a new order every time."""


@gradients_as_they_are()
def train_base(
    world: World,
    out: str | os.PathLike[str],
    *,
    people: Iterable[int] | None = None,
    n_layers: int = 6,
    d_model: int = 128,
    n_heads: int | None = None,
    d_mlp: int | None = None,
    lr: float = 2e-3,
    batch_size: int = 128,
    max_steps: int | None = None,
    check_every: int = 20,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train a model from nothing on the world's texts, and write it as a Hugging Face directory with its tokenizer.

    AdamW with a short warm-up and linear decay over ``max_steps``; training ends when every question is answered by the
    exact words and an EOS at two checks in a row. The same arguments on the same machine give the same weights.
    200 people with 4 attributes take about 380 steps.

    Args:
        world: what there is to know.
        out: the directory to write; it appears only when training is done.
        people: train on these people only (a model that never heard of the others); None takes all.
        n_layers: layers of the model.
        d_model: its width; see `World.config` for the rest of its shape.
        n_heads: attention heads.
        d_mlp: width of the MLPs.
        lr: the highest learning rate.
        batch_size: texts a step.
        max_steps: at most so many steps; None takes 18 passes over the texts, and at least 400 steps.
        check_every: ask all questions after every so many steps.
        seed: decides the first weights and the order of the texts.
        device: where to train.
        overwrite: replace what ``out`` holds.
        progress: show a bar over the steps, with the loss and the share of questions answered.

    Returns:
        ``out``.

    Raises:
        DissectError: ``out`` is taken, or the questions are not all answered after ``max_steps``.
    """
    check_new_directory(Path(out), overwrite=overwrite)
    names = None if people is None else list(people)
    tokenizer = world.tokenizer()
    questions = world.facts(names).prompts(tokenizer)
    ids = [torch.tensor([*tokenizer(text).input_ids, tokenizer.eos_token_id]) for text in world.texts(names)]
    max_steps = max(MIN_STEPS, MAX_PASSES * len(ids) // batch_size) if max_steps is None else max_steps
    shape = world.config(n_layers=n_layers, d_model=d_model, n_heads=n_heads, d_mlp=d_mlp)
    model = _new_model(shape, seed).to(device)  # type: ignore[arg-type]  # the stubs know no device here
    batches = _batches(ids, batch_size, random.Random(seed))
    answered = _train(model, batches, questions, lr=lr, max_steps=max_steps, check_every=check_every, progress=progress)
    if answered < 1:
        raise DissectError(
            f"after {max_steps} steps the model answers {answered:.1%} of the questions: give more steps (max_steps), "
            "or another lr"
        )
    with atomic_directory(out, overwrite=overwrite) as directory:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return Path(out)


def share_answered(model: LlamaForCausalLM, questions: Prompts, *, batch_size: int = 512) -> float:
    """Share of questions that the model answers greedily with exactly the gold tokens and then an EOS.

    A greedy continuation equals the gold answer if and only if, reading the gold answer, every answer token and the
    EOS after it is the most likely next one: so one pass over the questions decides, and nothing is generated.
    """
    right = 0
    eos: Any = model.config.eos_token_id
    for batch in questions.batches(batch_size):
        rows = torch.arange(len(batch))
        tokens = F.pad(batch.tokens, (0, 1))
        tokens[rows, batch.lengths] = eos
        scored = F.pad(batch.answer_mask, (0, 1))
        scored[rows, batch.lengths] = True
        with without_gradients():
            best = model(tokens.to(model.device)).logits.argmax(dim=-1).cpu()
        hit = (best[:, :-1] == tokens[:, 1:]) | ~scored[:, 1:]
        right += int(hit.all(dim=1).sum())
    return right / len(questions)


def _new_model(shape: dict[str, Any], seed: int) -> LlamaForCausalLM:
    with seeded(seed):
        model = LlamaForCausalLM(LlamaConfig(**shape, initializer_range=MATRIX_STD))
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    return model


def _train(
    model: LlamaForCausalLM,
    batches: Iterator[Int[Tensor, "batch pos"]],
    questions: Prompts,
    *,
    lr: float,
    max_steps: int,
    check_every: int,
    progress: bool,
) -> float:
    """Train in place until every question is answered; returns the share answered at the end."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, max_steps))
    answered = 0.0
    with tqdm(total=max_steps, desc="base training", unit="step", disable=not progress) as bar:
        for step in range(1, max_steps + 1):
            model.train()
            loss = _loss(model, next(batches).to(model.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
            if step % check_every == 0 or step == max_steps:
                model.eval()
                before, answered = answered, share_answered(model, questions)
                bar.set_postfix(loss=f"{loss.item():.3f}", answered=f"{answered:.1%}")
                if before == answered == 1:
                    break
    log.info("base training ended after %d steps, %.1f%% of the questions answered", step, 100 * answered)
    model.eval()
    return answered


def _factor(step: int, max_steps: int) -> float:
    """Share of the learning rate at a step: up over WARM_UP steps, then straight down to FLOOR."""
    return min(1.0, (step + 1) / WARM_UP) * max(FLOOR, 1 - max(0, step - WARM_UP) / max(1, max_steps - WARM_UP))


def _loss(model: LlamaForCausalLM, tokens: Int[Tensor, "batch pos"]) -> Tensor:
    """Mean cross-entropy of every token of the texts after the BOS; -1 is padding, on the right."""
    padding = tokens < 0
    logits: Any = model(tokens.masked_fill(padding, 0)).logits
    labels = tokens.masked_fill(padding, IGNORED)[:, 1:]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def _batches(ids: list[Tensor], batch_size: int, rng: random.Random) -> Iterator[Int[Tensor, "batch pos"]]:
    """Texts in random order without end, padded on the right with -1; texts of like length come together."""
    while True:
        order = rng.sample(range(len(ids)), len(ids))
        pools = [
            sorted(order[i : i + POOL * batch_size], key=lambda k: len(ids[k]))
            for i in range(0, len(ids), POOL * batch_size)
        ]
        epoch = [pool[i : i + batch_size] for pool in pools for i in range(0, len(pool), batch_size)]
        rng.shuffle(epoch)
        for batch in epoch:
            yield torch.nn.utils.rnn.pad_sequence([ids[k] for k in batch], batch_first=True, padding_value=-1)
