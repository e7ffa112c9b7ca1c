"""A question of one's own: what base, unlearned and retrained say, and what a restoration or a patch makes of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.autopsy.asking.answered import Asked, Said, SaidToken
from dissect.autopsy.asking.patched_answer import patched_answer
from dissect.data.chat.chat_settings import ChatChoice
from dissect.data.facts import Fact, Facts
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.data.token_table import token_texts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.restoration.transplant import restored
from dissect.undoing.gradient_mode import without_gradients

CHANGED = "changed"
"""Name of the unlearned model with parts of the base model in it."""


@keywords()
@without_gradients()
def ask(
    pair: Any,
    question: str,
    *,
    restore: str | Sequence[str] = (),
    patch: str | Sequence[str] = (),
    layers: Iterable[int] | None = None,
    template: str = DEFAULT_TEMPLATE,
    chat: ChatChoice = None,
    max_new_tokens: int = 30,
) -> Asked:
    """Ask every model of a pair a question; answers are greedy, each token with its probability in every model.

    Args:
        pair: from ``dissect.load_pair``.
        question: put in ``template``, or with ``chat`` in the checkpoint's own chat template.
        restore: parameter blocks of the base model that are put into the unlearned one for a further answer.
        patch: sites whose activations in the base model, on the same text, replace those of the unlearned one.
        layers: of ``restore`` or ``patch``; all by default.
        max_new_tokens: longest answer, in tokens.

    Raises:
        DissectError: no pair, no question, both ``restore`` and ``patch``, or a block, site or layer that is not there.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> fact = dissect.Facts.read("runs/demo/forget.jsonl")[0]
        >>> dissect.ask(pair, fact.question, restore=["mlp"])["changed"].text
        '...'
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"expected a pair from dissect.load_pair, got {type(pair).__name__}")
    if not isinstance(question, str) or not question.strip():
        raise DissectError(f"the question is empty: type one, got {question!r}")
    if restore and patch:
        raise DissectError("restore and patch were both given: choose one, to see what it does alone")
    asked = Facts([Fact(question=question)])
    prompts = asked.prompts(
        pair.base, template=template, chat=chat, answers="base", max_new_tokens=max_new_tokens, progress=False
    )
    start = prompts.tokens[0, : int(prompts.prompt_lengths[0])]
    models = pair.models()
    told = {name: _said(model, start, prompts, max_new_tokens) for name, model in models.items()}
    if restore:
        with restored(pair.unlearned, pair.base, blocks=restore, layers=layers) as changed:
            told[CHANGED] = _said(changed, start, prompts, max_new_tokens)
    if patch:
        ends = eos_token_ids(pair.unlearned) | prompts.ends
        told[CHANGED] = patched_answer(pair, start, patch, layers, ends=ends, max_new_tokens=max_new_tokens)
    answers = [_answer(name, ids, start, models, prompts) for name, ids in told.items()]
    return Asked(question, prompts.prompt_texts[0], tuple(answers))


def _said(model: HookedTransformer, start: Int[Tensor, " pos"], prompts: Prompts, n: int) -> list[int]:
    ends = eos_token_ids(model) | prompts.ends
    return greedy(model, [start], max_new_tokens=n, eos_ids=ends, progress=False)[0].tolist()


def _answer(
    name: str, ids: list[int], start: Int[Tensor, " pos"], models: dict[str, HookedTransformer], prompts: Prompts
) -> Said:
    """The answer with the probability of each of its tokens in every model, each after the tokens before it."""
    text = prompts.tokenizer.decode(ids, skip_special_tokens=True).strip()
    whole = torch.cat([start, torch.tensor(ids, dtype=start.dtype)])[None]
    p: dict[str, list[float]] = {}
    for role, model in models.items():
        logits = model(whole.to(model.embed.W_E.device))[0, len(start) - 1 : -1].float()
        wanted = whole[0, len(start) :, None].to(logits.device)
        p[role] = logits.softmax(-1).gather(-1, wanted)[:, 0].tolist() if ids else []
    texts = token_texts(prompts, ids)
    tokens = [SaidToken(token, {role: p[role][place] for role in p}) for place, token in enumerate(texts)]
    return Said(name, text, tokens)
