"""Help texts from the docstrings below the fields of a dataclass."""

import ast
import inspect
import re
import sys
from itertools import pairwise

_NEXT_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z(`])")


def field_docstrings(owner: type) -> dict[str, str]:
    """Docstring below each field of a class and of those that it inherits from, read from their source.

    Nothing where the source is not there.
    """
    docstrings: dict[str, str] = {}
    for each in reversed(owner.__mro__[:-1]):
        docstrings |= _own_docstrings(each)
    return docstrings


def _own_docstrings(owner: type) -> dict[str, str]:
    try:
        source = inspect.getsource(sys.modules[owner.__module__])
    except OSError:
        return {}
    body = next(
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == owner.__name__
    )
    docstrings = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docstrings[field.target.id] = inspect.cleandoc(str(ast.literal_eval(below.value)))
    return docstrings


def first_sentence(docstring: str) -> str:
    """First sentence of a docstring as one line of plain text, together with a second that begins with "By default"."""
    first, *others = _NEXT_SENTENCE.split(" ".join(docstring.replace("`", "").split()))
    return f"{first} {others[0]}" if others and others[0].startswith("By default") else first
