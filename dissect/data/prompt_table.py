"""How `Prompts` look in a terminal and in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SHOWN = 5
ANSWER_STYLE = "background:#ffe08a;color:#000;"
SUBJECT_STYLE = "text-decoration:underline;"


@dataclass(frozen=True)
class ShownToken:
    """One token of a row as it is drawn."""

    text: str
    id: int
    scored: bool
    subject: bool


def summary(
    texts: Sequence[tuple[str, str]],
    lengths: Sequence[int],
    answer_lengths: Sequence[int],
    *,
    answers: str,
    chat: bool = False,
) -> str:
    """Number of rows, range of their lengths in tokens, and the first few, the answer in brackets.

    Args:
        texts: prompt and answer of each row.
        lengths: tokens of each row.
        answer_lengths: scored tokens of each row.
        answers: whose answers they are.
        chat: whether the prompts are turns of a chat template.
    """
    if not texts:
        return "Prompts(0)"
    words = f"{answers} answers{', in the chat template' if chat else ''}, {_range(lengths)} tokens"
    lines = [f"Prompts({len(texts)}, {words}, {_range(answer_lengths)} of them scored)"]
    for row, (prompt, answer) in enumerate(texts[:SHOWN]):
        lines.append(f"  {row}: {_both_ends(prompt)!r} [{_both_ends(answer)!r}]")
    if len(texts) > SHOWN:
        lines.append(f"  ... and {len(texts) - SHOWN} more")
    return "\n".join(lines)


def html_table(head: str, rows: Sequence[Sequence[ShownToken]]) -> str:
    """A table of the first rows, token by token: scored tokens on yellow, the subject underlined."""
    body = "".join(
        f"<tr><td>{number}</td><td style='text-align:left;white-space:pre-wrap'>{_tokens(row)}</td></tr>"
        for number, row in enumerate(rows[:SHOWN])
    )
    return (
        f"<p>{escape(head)}; scored tokens marked, the subject underlined</p>"
        f"<table><tr><th>prompt</th><th style='text-align:left'>tokens</th></tr>{body}</table>"
    )


def _tokens(row: Sequence[ShownToken]) -> str:
    cells = []
    for position, token in enumerate(row):
        style = (ANSWER_STYLE if token.scored else "") + (SUBJECT_STYLE if token.subject else "")
        cells.append(f'<span title="{position}: id {token.id}" style="{style}">{escape(token.text)}</span>')
    return "&thinsp;".join(cells)


def _both_ends(text: str, shown: int = 80) -> str:
    """A text with its middle left out where it is long: its beginning (a BOS) and its end decide how it is read."""
    half = (shown - 5) // 2
    return text if len(text) <= shown else f"{text[:half]} ... {text[-half:]}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
