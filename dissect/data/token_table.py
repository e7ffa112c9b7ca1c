"""The tokens of prompts as text, lined up at the answers' first tokens."""

from collections.abc import Sequence

import numpy as np

from dissect.data.prompts import Prompts


def token_texts(prompts: Prompts, ids: Sequence[int] | np.ndarray) -> list[str]:
    """Tokens as the tokenizer writes them (a space may be ``Ġ`` or ``▁``).

    ``[7]`` for number 7 of a vocabulary that is larger than the tokenizer's, or where there is no tokenizer.
    """
    numbers = [int(number) for number in ids]
    known = [None] * len(numbers) if prompts.tokenizer is None else prompts.tokenizer.convert_ids_to_tokens(numbers)
    return [f"[{number}]" if text is None else str(text) for number, text in zip(numbers, known, strict=True)]


def token_table(prompts: Prompts, offsets: Sequence[int]) -> np.ndarray:
    """[offset, prompt]: the token at each offset from the answer's first; empty where a prompt has none there."""
    table = np.full((len(offsets), len(prompts)), "", dtype=object)
    for column, (start, end) in enumerate(zip(prompts.prompt_lengths.tolist(), prompts.lengths.tolist(), strict=True)):
        texts = token_texts(prompts, prompts.tokens[column, :end].tolist())
        for line, offset in enumerate(offsets):
            if 0 <= start + offset < end:
                table[line, column] = texts[start + offset]
    return table.astype(str)
