"""Lists that a table holds as text in one cell."""

import ast
import io
import json
import tokenize
from typing import Any

_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def listed_cell(text: str) -> list[Any] | str:
    """`["a", "b"]` as JSON has it, `['a', 'b']` as Python and `['a' 'b']` as NumPy write it, as a list.

    Python would read the last as one text `ab`: neighbouring strings are joined there. Here they are two.

    Returns:
        The list, or the text as it was where it is none.
    """
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith("]")):
        return text
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        value = _strings(bare)
    return value if isinstance(value, list) else text


def _strings(text: str) -> list[Any] | None:
    """The string literals between brackets, with or without commas; None where anything else stands there."""
    try:
        tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in _LAYOUT]
        inner = [t for t in tokens[1:-1] if t.string != ","]
        if any(t.type != tokenize.STRING for t in inner):
            return None
        values = [ast.literal_eval(t.string) for t in inner]
    except (tokenize.TokenError, SyntaxError, ValueError):
        return None
    return values if all(isinstance(value, str) for value in values) else None
