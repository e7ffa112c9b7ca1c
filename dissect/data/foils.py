"""Foils: for each prompt a wrong answer, and the place where it parts from the right one."""

import logging
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.data.tokenise import check_tokenizer, encode
from dissect.errors import DissectError

log = logging.getLogger(__name__)

NO_FOIL = -100


def foil_text(fact: Fact) -> str | None:
    """The wrong answer of a fact: ``extra["foil"]``, or the first of ``extra["perturbed"]``; None if it has neither.

    Raises:
        DissectError: what stands there is no text.
    """
    key = "foil" if "foil" in fact.extra else "perturbed"
    foil: Any = fact.extra.get(key)
    if isinstance(foil, (list, tuple)):
        foil = foil[0] if foil else None
    if foil is not None and not isinstance(foil, str):
        raise DissectError(f"extra[{key!r}] must be text or a list of texts, got {foil!r:.60}: put it in quotes")
    return foil or None


def foil_targets(prompts: Prompts) -> Int[Tensor, "prompt pos"]:
    """The foil's token at the position whose logits predict the token where answer and foil part; -100 elsewhere.

    So a row has at most one entry, and entry t stands beside the answer's token ``prompts.tokens[:, t + 1]``. The foil
    is put after the prompt as the answer is, and the two *whole* texts are compared token by token; a foil that begins
    like the answer ("Great Britain" for "Great Yarmouth") is thus compared where it differs.

    A row is empty where a prompt has no foil: the fact has none, the text is plain, the foil only goes on after the
    answer or stops within it, or it changes how the prompt itself is cut into tokens. The last two are logged.

    Raises:
        DissectError: the prompts have no fast tokenizer, or a foil is no text.
    """
    targets = torch.full_like(prompts.tokens, NO_FOIL)
    texts = [
        foil_text(fact) if prompt else None for fact, prompt in zip(prompts.facts, prompts.prompt_texts, strict=True)
    ]
    if any(texts):
        check_tokenizer(prompts.tokenizer)
    never = []
    for row, text in enumerate(texts):
        if text is None:
            continue
        parting = _parting(prompts, row, text)
        if parting is None:
            never.append(row)
        else:
            position, token = parting
            targets[row, position - 1] = token
    if never:
        log.warning(
            "%d of %d foils do not part from the answer within it and are left out (first: prompt %d, %r)",
            len(never),
            sum(text is not None for text in texts),
            never[0],
            texts[never[0]],
        )
    return targets


def check_foils(targets: Int[Tensor, "prompt pos"], metric: str) -> None:
    """Refuse to compare with foils where no prompt has one.

    Raises:
        DissectError: ``targets`` (of ``foil_targets``) is empty.
    """
    if bool((targets == NO_FOIL).all()):
        raise DissectError(
            f"metric {metric!r} compares with a foil and no prompt has one that parts from its answer: give facts "
            'a "foil" (a wrong answer) or "perturbed" (a list of them)'
        )


def _parting(prompts: Prompts, row: int, foil: str) -> tuple[int, int] | None:
    """The first position within the answer at which the foil has another token, and that token."""
    prompt, answer = prompts.prompt_texts[row], prompts.answer_texts[row]
    if prompts.chat is not None:  # the template writes the same before any answer
        joint, foil = answer[: len(answer) - len(answer.lstrip())], foil.strip()
        theirs = encode(prompts.tokenizer, prompt + joint + foil, specials=False).ids
    else:
        # The answer of a question follows after a space; a completion is joined exactly as given (see render).
        spaced = prompts.facts[row].kind == "question" and not (prompt[-1:].isspace() or foil[:1].isspace())
        theirs = encode(prompts.tokenizer, prompt + (" " if spaced else "") + foil).without_trailing().ids
    ours = prompts.tokens[row].tolist()
    where = prompts.answer_mask[row].nonzero()[:, 0]
    start, stop = int(where[0]), int(where[-1]) + 1
    if list(theirs[:start]) != ours[:start]:
        return None
    for position in range(start, min(stop, len(theirs))):
        if theirs[position] != ours[position]:
            return position, theirs[position]
    return None
