"""Text from files, names and paths as a terminal may have it: what would act on the terminal is spelt out instead."""

import unicodedata

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the order in which what follows is shown (Bidi_Control of Unicode)."""
_ACTING = ("Cc", "Cs", "Zl", "Zp")
"""Categories of control characters, halves of characters, which cannot be written, and separators of lines."""


def visible(text: str, *, lines: bool = True) -> str:
    r"""Return ``text`` with control characters, directions of writing and lone surrogates as escapes.

    An escape sequence could set the title of the terminal, write to the clipboard, or overwrite what was said before; a
    direction of writing can make one name look like another.

    Args:
        lines: keep line breaks and tabs; False where the text is one name in a line of ours.

    Example:
        >>> visible("\x1b]0;title\x07 \u202egpj.exe")
        '\\x1b]0;title\\x07 \\u202egpj.exe'
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c.encode("unicode_escape").decode() if c not in kept and _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in _ACTING
