"""Texts to token ids with character spans: where the answer starts, and which tokens belong to the subject.

Everything is decided from the offsets that the tokenizer gives for the *whole* text. Tokenising the prompt apart and
taking its length is wrong wherever the tokenizer merges across the boundary, strips or adds a space.
"""

import re
from dataclasses import dataclass
from typing import Any

from dissect.errors import DissectError


@dataclass(frozen=True)
class Encoded:
    """One tokenised text, exactly as the checkpoint's own tokenizer gives it, special tokens included."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    """for each token the characters [start, end) that it stands for; several tokens may share a character"""
    special: tuple[bool, ...]
    """True on tokens that the tokenizer added (BOS, EOS), not on those written out in the text"""

    @property
    def trailing(self) -> int:
        """How many special tokens (an EOS) the tokenizer added after the text."""
        n = 0
        while n < len(self.ids) and self.special[-1 - n]:
            n += 1
        return n

    def without_trailing(self) -> "Encoded":
        """Return a copy without the special tokens after the text, which a model can continue."""
        end = len(self.ids) - self.trailing
        return Encoded(self.ids[:end], self.offsets[:end], self.special[:end])


def check_tokenizer(tokenizer: Any) -> None:
    """Refuse what cannot tell which characters a token stands for.

    Raises:
        DissectError: not a tokenizer, or a slow one.
    """
    if not callable(tokenizer) or not hasattr(tokenizer, "is_fast"):
        raise DissectError(
            f"prompts need a tokenizer or a model with one, got {type(tokenizer).__name__}: pass model.tokenizer"
        )
    if not tokenizer.is_fast:
        name = type(tokenizer).__name__
        raise DissectError(
            f"{name} is a slow tokenizer and gives no offsets: load it with AutoTokenizer (use_fast=True)"
        )


def encode(tokenizer: Any, text: str, *, specials: bool = True) -> Encoded:
    """Tokenise one text with a fast tokenizer, never truncated.

    Args:
        specials: whether the tokenizer adds its own BOS and EOS; a chat template writes them itself.

    Raises:
        DissectError: the tokenizer refuses the text (a lone surrogate), or gives only empty spans (a fault of some old
            ``tokenizers`` releases).
    """
    try:
        out = tokenizer(
            text,
            add_special_tokens=specials,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            truncation=False,
            verbose=False,
        )
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the tokenizers' Rust code is no Exception
        raise DissectError(f"the tokenizer refuses the text: {_why(text, error)}") from error
    special = tuple(bool(flag) for flag in out["special_tokens_mask"])
    offsets = tuple((int(start), int(end)) for start, end in out["offset_mapping"])
    real = [span for span, added in zip(offsets, special, strict=True) if not added]
    if real and text.strip() and all(start == end for start, end in real):
        raise DissectError(f"the tokenizer gives no character spans for {text!r:.60}: upgrade the tokenizers package")
    return Encoded(tuple(out["input_ids"]), offsets, special)


def _why(text: str, error: BaseException) -> str:
    lone = next((i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if lone is not None:
        return f"character {lone} is {text[lone]!a}, half of a surrogate pair and no character: mend the text"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{reason}: change the text, or see whether this is the checkpoint's tokenizer"


def answer_start(encoded: Encoded, boundary: int) -> int:
    """The first answer token: the first token whose characters reach past ``boundary``.

    A token that straddles the boundary therefore belongs to the answer, for the model has to predict it to say the
    answer. From there on every token is an answer token, up to the special ones at the end; so the pieces of one
    character (byte fallback) that share a span, or have an empty one, stay together.

    Returns:
        The position, or the number of tokens before the trailing special ones if no token reaches past it.
    """
    end = len(encoded.ids) - encoded.trailing
    for position in range(end):
        if not encoded.special[position] and encoded.offsets[position][1] > boundary:
            return position
    return end


def subject_positions(encoded: Encoded, text: str, subject: str, *, end: int, begin: int = 0) -> list[int]:
    """The tokens before position ``end`` that carry a character of the first whole-word ``subject`` in ``text``.

    Args:
        begin: the character from which on it is looked for.

    Returns:
        The positions in order; none where the subject does not stand in the text.
    """
    match = re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)").search(text, begin) if subject else None
    if match is None:
        return []
    first, last = match.span()
    return [
        position
        for position, (start, stop) in enumerate(encoded.offsets[:end])
        if not encoded.special[position] and start < last and stop > first and stop > start
    ]


def answer_stop(encoded: Encoded, start: int, end: int) -> int:
    """One past the last answer token: the first token from `start` on that begins at character `end` or later."""
    for position in range(start, len(encoded.ids)):
        if encoded.offsets[position][0] >= end:
            return position
    return len(encoded.ids)
