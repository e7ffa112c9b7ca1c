"""Texts that are longer than the context, cut into windows in which every token is scored once."""

from collections.abc import Iterator

from dissect.data.prompt_row import PromptRow
from dissect.data.render import Rendered
from dissect.data.tokenise import Encoded
from dissect.errors import DissectError


def check_windows(max_length: int | None, stride: int | None) -> None:
    """Refuse sizes that are no sizes.

    Raises:
        DissectError: a number below 2 (`max_length`) or 1 (`stride`), or a stride alone.
    """
    for name, value, least in (("max_length", max_length, 2), ("stride", stride, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise DissectError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if stride is not None and max_length is None:
        raise DissectError(f"stride={stride} is between windows of a text: give max_length as well")


def windows_of(encoded: Encoded, text: str, *, size: int, stride: int | None = None) -> Iterator[PromptRow]:
    """A text as rows of at most `size` tokens; one row, as it is, where it fits.

    Each window begins with the special tokens that the tokenizer puts before a text (its BOS); the ones after it (an
    EOS) stand in the last window alone. A window scores the tokens that no window before it has scored. By default the
    next window begins where the last one ended, or one token earlier where there is no BOS to predict its first token
    from. With a smaller `stride` windows overlap and give later tokens more to go on.

    Raises:
        DissectError: no room for a token, or a stride that would leave tokens out.
    """
    n = len(encoded.ids)
    if n <= size:
        yield PromptRow(encoded.ids, 1, n - encoded.trailing, [], Rendered("", text))
        return
    lead = next((i for i, added in enumerate(encoded.special) if not added), n)
    stop = n - encoded.trailing
    room = size - lead - encoded.trailing  # so that the last window has room for what follows the text
    furthest = room if lead else room - 1
    step = furthest if stride is None else stride
    if furthest < 1 or step > furthest:
        raise DissectError(
            f"windows of {size} tokens can begin at most {max(furthest, 0)} tokens apart, got a stride of {step}: give "
            "a smaller stride or longer windows"
        )
    scored = lead if lead else 1  # a first token without a BOS is predicted by nothing
    first = lead
    while True:
        last = min(first + room, stop)
        ends = stop if last == stop else last
        ids = (*encoded.ids[:lead], *encoded.ids[first:ends], *(encoded.ids[stop:] if last == stop else ()))
        start = lead + scored - first
        spans = [encoded.offsets[i] for i in range(scored, last)]
        part = text[min(s for s, _ in spans) : max(e for _, e in spans)]
        yield PromptRow(ids, start, lead + last - first, [], Rendered("", part))
        if last == stop:
            return
        scored, first = last, first + step
