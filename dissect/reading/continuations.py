"""How a model goes on after texts of any kind, as the text that follows."""

from collections.abc import Collection, Sequence

import torch
from transformer_lens import HookedTransformer

from dissect.data.tokenise import encode
from dissect.errors import DissectError
from dissect.models.running.generate import eos_token_ids, greedy


def continuations(
    model: HookedTransformer,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    specials: bool = True,
    ends: Collection[int] = (),
    batch_size: int = 32,
    progress: bool = False,
) -> list[str]:
    """The greedy continuation of each text, without special tokens, its white space as it came.

    The text's tokens are those of the checkpoint's own tokenizer for it, its last space included.

    Args:
        specials: whether the tokenizer adds its BOS; a chat template writes one itself.
        ends: further tokens that end a continuation, beside those of the checkpoint.

    Raises:
        DissectError: a text that fills the context.
    """
    tokenizer = model.tokenizer
    rows = [encode(tokenizer, text, specials=specials).without_trailing().ids for text in texts]
    limit = model.cfg.n_ctx
    for text, row in zip(texts, rows, strict=True):
        if len(row) >= limit:
            raise DissectError(
                f"expected fewer than {limit} tokens (the context), got {len(row)}: shorten {text!r:.60}"
            )
    new = greedy(
        model,
        [torch.tensor(row) for row in rows],
        max_new_tokens=max_new_tokens,
        eos_ids=eos_token_ids(model) | set(ends),
        batch_size=batch_size,
        progress=progress,
    )
    return [decoded(tokenizer, ids.tolist()) for ids in new]


def decoded(tokenizer: object, ids: Sequence[int]) -> str:
    """Ids as text, as the published benchmarks decode them: no special tokens, spaces cleaned up."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True))  # type: ignore[attr-defined]
