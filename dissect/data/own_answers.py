"""A model's own greedy answers in the place of those of the facts."""

from collections.abc import Sequence
from typing import Any

import torch
from transformer_lens import HookedTransformer

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.prompt_row import PromptRow
from dissect.data.render import Rendered
from dissect.errors import DissectError


def answered_rows(
    rows: Sequence[PromptRow],
    model: HookedTransformer,
    form: ChatFormat | None,
    limit: int | None,
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: bool,
) -> list[PromptRow]:
    """Let the model go on from each prompt, and keep the ids that it gives.

    Raises:
        DissectError: the model answers nothing to one of them.
    """
    from dissect.models.running.generate import eos_token_ids, greedy

    end = None if form is None else form.end_of_turn
    ends = eos_token_ids(model) | (frozenset() if end is None else {end})
    generated = greedy(
        model,
        [torch.tensor(row.ids) for row in rows],
        max_new_tokens=max_new_tokens,
        eos_ids=ends | _without_token(model),
        n_ctx=limit,
        batch_size=batch_size,
        progress=progress,
    )
    answered = []
    for i, (row, new) in enumerate(zip(rows, generated, strict=True)):
        if len(new) == 0:
            raise DissectError(
                f"the model answers nothing to prompt {i} ({row.rendered.prompt!r:.60}), its first token is EOS: leave "
                "the fact out or change the template"
            )
        ids = [*row.ids, *new.tolist()]
        rendered = Rendered(row.rendered.prompt, _continuation(model.tokenizer, row.ids, ids))
        room = max_new_tokens if limit is None else min(max_new_tokens, limit - len(row.ids))
        if form is not None and form.chat.end_of_turn and end is not None and len(new) < room:
            ids.append(end)  # the model said that it was done
        answered.append(PromptRow(ids, row.start, len(ids), row.subject, rendered))
    return answered


def _without_token(model: HookedTransformer) -> frozenset[int]:
    """Ids of a padded vocabulary that no token has: nothing that could be said."""
    known = set(model.tokenizer.get_vocab().values())
    return frozenset(range(model.cfg.d_vocab_out)) - known


def _continuation(tokenizer: Any, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text that the ids add, for showing; decoding the new ids alone would lose a leading space."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    whole, start = tokenizer.decode(list(ids), **options), tokenizer.decode(list(before), **options)
    return whole[len(start) :] if whole.startswith(start) else tokenizer.decode(list(ids[len(before) :]), **options)
